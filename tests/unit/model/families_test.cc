// Every family against `transformers`: tiny random checkpoints of tests/data/families with the
// logits and greedy texts that tests/data/golden/make_family_goldens.py computed for them in fp32.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "libs/device/cpu_features.h"
#include "tests/support/catch.h"
#include "tests/unit/model/sequence_runner.h"

namespace weft {
namespace {

using nlohmann::json;
using test::LogitsInChunks;
using test::SameBits;
using test::SequenceRunner;

// Of the largest logit of the row. The generator keeps greedy steps whose two best are closer than
// ten times this away.
constexpr double kRefError = 1e-4;
// The fast table (int8 activations, F16 cache) against the oracle, over all rows of a checkpoint.
// Random networks are much more sensitive than trained ones.
constexpr double kFastMeanKl = 0.01;

constexpr const char* kFolders[] = {
    "llama3",     "llama_bias",  "llama_dynamic",    "mistral",   "mixtral",
    "qwen2",      "qwen3",       "qwen3_moe",        "gemma2",    "gemma3_text",
    "starcoder2", "granite",     "gpt_bigcode",      "smollm3",   "phi3_long",
    "phi3_short", "deepseek_v2", "deepseek_v2_lite", "fp8_block", "fp8_tensor"};

std::unique_ptr<Model> LoadFamily(const std::string& name, const ModelOptions& options) {
  absl::StatusOr<std::unique_ptr<Model>> model =
      Model::Load("tests/data/families/" + name, options);
  INFO(ToString(model.status()));
  REQUIRE(model.ok());
  return std::move(model).value();
}

ModelOptions Ref() {
  return {.table = ModelOptions::Table::kRef, .threads = 1, .kv_type = DType::kF32};
}

json Golden(const std::string& name) {
  std::ifstream file("tests/data/families/" + name + "/golden.json");
  return json::parse(file);
}

std::vector<int32_t> AllTokens(const json& golden) {
  auto tokens = golden["prompt"].get<std::vector<int32_t>>();
  const auto more = golden["continuation"].get<std::vector<int32_t>>();
  tokens.insert(tokens.end(), more.begin(), more.end() - 1);  // nothing follows the last one
  return tokens;
}

// The prompt at once, then one token after another, each the largest logit of the row before.
// Returns the text; `rows` gets the logits of every position.
std::vector<int32_t> Greedy(Model& model, const std::vector<int32_t>& prompt, size_t count,
                            std::vector<float>& rows) {
  SequenceRunner runner(model, 1, static_cast<int32_t>(prompt.size() + count));
  const auto vocab = static_cast<int64_t>(model.config().vocab);
  std::vector<int32_t> text;
  runner.Add(0, prompt);
  while (true) {
    const std::vector<float> step = runner.Step();
    rows.insert(rows.end(), step.begin(), step.end());
    const auto best = std::max_element(rows.end() - vocab, rows.end()) - (rows.end() - vocab);
    text.push_back(static_cast<int32_t>(best));
    if (text.size() == count) return text;
    runner.Add(0, {text.back()});
  }
}

double LargestError(const json& golden, const std::vector<float>& rows, size_t vocab) {
  double largest = 0;
  for (const json& at : golden["logits"]) {
    const auto expected = at["row"].get<std::vector<double>>();
    REQUIRE(expected.size() == vocab);
    const float* found = &rows[at["position"].get<size_t>() * vocab];
    double scale = 0;
    double error = 0;
    for (size_t i = 0; i < vocab; ++i) {
      scale = std::max(scale, std::abs(expected[i]));
      error = std::max(error, std::abs(found[i] - expected[i]));
    }
    largest = std::max(largest, error / scale);
  }
  return largest;
}

double MeanKl(const std::vector<float>& expected, const std::vector<float>& found, size_t vocab) {
  REQUIRE(expected.size() == found.size());
  const auto log_total = [vocab](const float* row) {
    const double top = *std::max_element(row, row + vocab);
    double sum = 0;
    for (size_t i = 0; i < vocab; ++i) sum += std::exp(row[i] - top);
    return top + std::log(sum);
  };
  double kl = 0;
  for (size_t at = 0; at < expected.size(); at += vocab) {
    const double total = log_total(&expected[at]);
    const double other = log_total(&found[at]);
    for (size_t i = at; i < at + vocab; ++i) {
      kl += std::exp(expected[i] - total) * ((expected[i] - total) - (found[i] - other));
    }
  }
  return kl / (static_cast<double>(expected.size()) / static_cast<double>(vocab));
}

void CheckGolden(Model& model, const json& golden) {
  const auto vocab = static_cast<size_t>(model.config().vocab);
  REQUIRE(golden["cases"].size() >= 2);
  for (const json& each : golden["cases"]) {
    const auto expected = each["continuation"].get<std::vector<int32_t>>();
    REQUIRE(expected.size() == 32);
    std::vector<float> rows;
    const auto text = Greedy(model, each["prompt"], expected.size(), rows);
    CHECK(LargestError(each, rows, vocab) <= kRefError);
    CHECK(text == expected);
  }
}

TEST_CASE("The oracle's logits and greedy text of every family are those of transformers",
          "[model][families]") {
  const std::string name = GENERATE(from_range(std::begin(kFolders), std::end(kFolders)));
  CAPTURE(name);
  CheckGolden(*LoadFamily(name, Ref()), Golden(name));
}

// make_family_ggufs.py converted those that the converter keeps whole: rows permuted for rotating
// neighbours, Llama 3's frequencies as a tensor, biases and linear scaling, norms of heads.
TEST_CASE("A checkpoint converted to GGUF computes what transformers does", "[model][families]") {
  int converted = 0;
  for (const char* name : kFolders) {
    if (!std::ifstream(fmt::format("tests/data/families/{}/model.gguf", name)).good()) continue;
    CAPTURE(name);
    CheckGolden(*LoadFamily(fmt::format("{}/model.gguf", name), Ref()), Golden(name));
    ++converted;
  }
  CHECK(converted >= 3);
}

TEST_CASE("Every family computes the same bits by prefill, decode and chunks",
          "[model][families]") {
  const std::string name = GENERATE(from_range(std::begin(kFolders), std::end(kFolders)));
  const bool ref = GENERATE(true, false);
  CAPTURE(name, ref);
  const auto model = LoadFamily(name, ref ? Ref() : ModelOptions{.threads = 1});
  const std::vector<int32_t> tokens = AllTokens(Golden(name)["cases"].back());
  const std::vector<float> whole = LogitsInChunks(*model, tokens, tokens.size(), 64);
  CHECK(SameBits(LogitsInChunks(*model, tokens, 1, 16), whole));
  CHECK(SameBits(LogitsInChunks(*model, tokens, 13, 32), whole));
}

TEST_CASE("The fast table stays near the oracle in every family, with one result on all levels",
          "[model][families]") {
  const std::string name = GENERATE(from_range(std::begin(kFolders), std::end(kFolders)));
  CAPTURE(name);
  const std::vector<int32_t> tokens = AllTokens(Golden(name)["cases"].back());
  const auto ref = LoadFamily(name, Ref());
  const std::vector<float> expected = LogitsInChunks(*ref, tokens, tokens.size(), 64);
  std::vector<float> first;
  for (const Isa isa : AvailableIsas()) {
    const auto fast = LoadFamily(name, {.isa = std::string(Name(isa)), .threads = 2});
    const std::vector<float> found = LogitsInChunks(*fast, tokens, tokens.size(), 64);
    if (first.empty()) {
      first = found;
      CHECK(MeanKl(expected, found, static_cast<size_t>(ref->config().vocab)) <= kFastMeanKl);
    }
    CAPTURE(std::string(Name(isa)));
    CHECK(SameBits(found, first));
  }
}

}  // namespace
}  // namespace weft
