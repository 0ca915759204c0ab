// The fast table's perplexity beside the oracle's on this repository's own documents and sources.
// The two are compared token by token, so that what the text itself varies by cancels out.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "libs/gguf/gguf.h"
#include "libs/model/model.h"
#include "libs/tokenizer/tokenizer.h"
#include "tests/support/catch.h"
#include "tests/unit/model/divergence.h"
#include "tests/unit/model/sequence_runner.h"

namespace weft {
namespace {

constexpr size_t kSequences = 32;
constexpr size_t kTokens = 192;  // of a sequence
// What the fast table may lose, as a share of the oracle's perplexity.
constexpr double kMostLost = 0.005;

// The beginnings of `kSequences` files: documents, C++ and Python, evenly taken from each.
std::vector<std::vector<int32_t>> Texts(const Tokenizer& tokenizer) {
  std::vector<std::vector<int32_t>> out;
  const std::pair<const char*, const char*> kinds[] = {
      {"docs", ".md"}, {"libs", ".cc"}, {"services", ".cc"}, {"tests/e2e", ".py"}};
  for (const auto& [folder, extension] : kinds) {
    std::vector<std::vector<int32_t>> texts;
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (entry.path().extension() == extension) paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    for (const std::filesystem::path& path : paths) {
      std::ifstream file(path);
      const std::string text((std::istreambuf_iterator<char>(file)), {});
      auto tokens = tokenizer.Encode(text, {.add_special = true});
      if (tokens.size() < kTokens) continue;
      tokens.resize(kTokens);
      texts.push_back(std::move(tokens));
    }
    const size_t wanted = kSequences / std::size(kinds);
    REQUIRE(texts.size() >= wanted);
    for (size_t i = 0; i < wanted; ++i) out.push_back(texts[i * texts.size() / wanted]);
  }
  return out;
}

std::vector<float> Logits(Model& model, const std::vector<int32_t>& tokens) {
  test::SequenceRunner runner(model, 1, static_cast<int32_t>(tokens.size()));
  runner.Add(0, tokens);
  return runner.Step();
}

struct Sample {
  std::vector<double> values;
  double mean() const {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum / static_cast<double>(values.size());
  }
  double standard_error() const {
    const double middle = mean();
    double sum = 0;
    for (const double value : values) sum += (value - middle) * (value - middle);
    const auto n = static_cast<double>(values.size());
    return std::sqrt(sum / (n - 1) / n);
  }
};

// Prints the measurement, which docs/models.md quotes.
void ComparePerplexity(const std::string& path) {
  const auto gguf = GgufFile::Open(path);
  INFO(ToString(gguf.status()));
  REQUIRE(gguf.ok());
  const auto texts = Texts(*Tokenizer::FromGguf(**gguf).value());
  const auto ref =
      Model::Load(path, {.table = ModelOptions::Table::kRef, .kv_type = DType::kF32}).value();
  const auto fast = Model::Load(path, {}).value();
  const auto vocab = static_cast<size_t>(ref->config().vocab);
  test::Divergence all;
  Sample tokens;     // what each token's log probability loses
  Sample sequences;  // the mean of that in each sequence
  for (const std::vector<int32_t>& text : texts) {
    const std::vector<float> expected = Logits(*ref, text);
    const std::vector<float> actual = Logits(*fast, text);
    Sample here;
    for (size_t i = 0; i + 1 < text.size(); ++i) {
      const double before = all.fast_loss - all.ref_loss;
      all.Add(&expected[i * vocab], &actual[i * vocab], vocab, text[i + 1]);
      here.values.push_back(all.fast_loss - all.ref_loss - before);
    }
    sequences.values.push_back(here.mean());
    tokens.values.insert(tokens.values.end(), here.values.begin(), here.values.end());
  }
  const auto count = static_cast<double>(all.predicted);
  std::printf(
      "%s: %zu tokens of %zu texts, perplexity %.3f, of the fast table %.3f; log probability lost "
      "a token %+.5f, standard error %.5f over tokens, %.5f over texts; mean KL %.5f\n",
      path.c_str(), tokens.values.size(), texts.size(), std::exp(all.ref_loss / count),
      std::exp(all.fast_loss / count), tokens.mean(), tokens.standard_error(),
      sequences.standard_error(), all.kl_sum / count);
  const double error = std::max(tokens.standard_error(), sequences.standard_error());
  CAPTURE(tokens.mean(), error);
  CHECK(tokens.values.size() >= 4000);
  CHECK(error <= kMostLost / 2);  // else the measurement says nothing
  // The texts change with the repository, and the mean with them, by about its standard error.
  CHECK(std::abs(tokens.mean()) <= kMostLost + error);
}

TEST_CASE("The fast table costs less than half a percent of perplexity", "[.perplexity]") {
  const char* home = std::getenv("WEFT_HOME");
  ComparePerplexity(std::string(home != nullptr && *home != '\0' ? home : ".weft") +
                    "/models/SmolLM2-135M-Instruct.Q4_1.gguf");
}

// Needs WEFT_GEMMA (run_gemma_full).
TEST_CASE("The fast table costs Gemma 3 270M less than half a percent of perplexity", "[.gemma]") {
  const char* path = std::getenv("WEFT_GEMMA");
  REQUIRE(path != nullptr);
  ComparePerplexity(path);
}

}  // namespace
}  // namespace weft
