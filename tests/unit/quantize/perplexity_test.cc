// What requantising costs a real model: perplexity on this repository's own text.
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "libs/gguf/gguf.h"
#include "libs/model/gguf_source.h"
#include "libs/model/model.h"
#include "libs/quantize/quantize_model.h"
#include "libs/tokenizer/tokenizer.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/model/sequence_runner.h"

namespace weft {
namespace {

constexpr size_t kTokens = 512;

std::string ModelPath() {
  const char* home = std::getenv("WEFT_HOME");
  return std::string(home != nullptr ? home : ".weft") + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

std::vector<int32_t> Text() {
  std::ifstream file("docs/architecture.md");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto gguf = GgufFile::Open(ModelPath()).value();
  auto tokens = Tokenizer::FromGguf(*gguf).value()->Encode(text, {.add_special = true});
  REQUIRE(tokens.size() > kTokens);
  tokens.resize(kTokens);
  return tokens;
}

double Perplexity(const std::string& path, const std::vector<int32_t>& tokens) {
  const auto model = Model::Load(path, {}).value();
  test::SequenceRunner runner(*model, 1, kTokens);
  runner.Add(0, tokens);
  const std::vector<float> logits = runner.Step();
  const auto vocab = static_cast<size_t>(model->config().vocab);
  double loss = 0;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    const float* row = logits.data() + i * vocab;
    double sum = 0;
    for (size_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(row[v]));
    loss += std::log(sum) - row[tokens[i + 1]];
  }
  return std::exp(loss / static_cast<double>(tokens.size() - 1));
}

TEST_CASE("A requantised model is hardly more perplexed", "[.full]") {
  const test::TempDir dir;
  const std::vector<int32_t> tokens = Text();
  const double original = Perplexity(ModelPath(), tokens);
  std::printf("source: %.4f\n", original);
  const auto file = GgufFile::Open(ModelPath()).value();
  const std::pair<DType, double> bounds[] = {
      {DType::kQ8_0, 1.01}, {DType::kQ6_K, 1.01}, {DType::kQ4_K, 1.12}, {DType::kQ4_0, 1.35}};
  for (const auto& [type, bound] : bounds) {
    QuantizeOptions options;
    options.mix.type = type;
    REQUIRE(QuantizeModel(GgufSource(file, true), *file, dir.File("q.gguf"), options).ok());
    const double perplexity = Perplexity(dir.File("q.gguf"), tokens);
    std::printf("%s: %.4f, %+.2f %%\n", std::string(Name(type)).c_str(), perplexity,
                100 * (perplexity / original - 1));
    REQUIRE(perplexity < bound * original);
  }
}

}  // namespace
}  // namespace weft
