// The tiny checkpoints of tests/data/families and what transformers computes from them.
#pragma once

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/model/model.h"
#include "libs/model/model_source.h"
#include "tests/support/catch.h"
#include "tests/unit/model/sequence_runner.h"

namespace weft::test {

// Of the largest logit of the row. The generator keeps greedy steps whose two best are closer than
// ten times this away.
inline constexpr double kRefError = 1e-4;

inline constexpr const char* kFamilies[] = {
    "llama3",     "llama_bias",  "llama_dynamic",    "mistral",     "mixtral",         "qwen2",
    "qwen3",      "qwen3_moe",   "gemma2",           "gemma3_text", "gemma3_pattern",  "starcoder2",
    "granite",    "gpt_bigcode", "gpt_bigcode_wide", "smollm3",     "smollm3_pattern", "phi3_long",
    "phi3_short", "deepseek_v2", "deepseek_v2_lite", "fp8_block",   "fp8_tensor"};

inline std::string FamilyFolder(const std::string& name) { return "tests/data/families/" + name; }

inline ModelOptions Ref() {
  return {.table = ModelOptions::Table::kRef, .threads = 1, .kv_type = DType::kF32};
}

// CHECKs that it loads.
template <typename Source>
std::unique_ptr<Model> LoadModel(Source source, const ModelOptions& options) {
  absl::StatusOr<std::unique_ptr<Model>> model = Model::Load(std::move(source), options);
  INFO(ToString(model.status()));
  REQUIRE(model.ok());
  return std::move(model).value();
}

inline nlohmann::json ReadJson(const std::string& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

inline nlohmann::json Golden(const std::string& name) {
  return ReadJson(FamilyFolder(name) + "/golden.json");
}

// Prompt and continuation, but for its last token, after which nothing comes.
inline std::vector<int32_t> AllTokens(const nlohmann::json& golden) {
  auto tokens = golden["prompt"].get<std::vector<int32_t>>();
  const auto more = golden["continuation"].get<std::vector<int32_t>>();
  tokens.insert(tokens.end(), more.begin(), more.end() - 1);
  return tokens;
}

// The prompt at once, then one token after another, each the largest logit of the row before.
// Returns the text; `rows` gets the logits of every position.
inline std::vector<int32_t> Greedy(ModelRunner& model, const std::vector<int32_t>& prompt,
                                   size_t count, std::vector<float>& rows) {
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

// Largest difference of a row's logits, of the row's largest.
template <typename Expected>
double RowError(const Expected& expected, const float* found, size_t vocab) {
  double scale = 0;
  double error = 0;
  for (size_t i = 0; i < vocab; ++i) {
    const double wanted = expected[i];
    scale = std::max(scale, std::abs(wanted));
    error = std::max(error, std::abs(found[i] - wanted));
  }
  return error / scale;
}

inline double LargestError(const nlohmann::json& golden, const std::vector<float>& rows,
                           size_t vocab) {
  double largest = 0;
  for (const nlohmann::json& at : golden["logits"]) {
    const auto expected = at["row"].get<std::vector<double>>();
    REQUIRE(expected.size() == vocab);
    const float* found = &rows[at["position"].get<size_t>() * vocab];
    largest = std::max(largest, RowError(expected, found, vocab));
  }
  return largest;
}

inline void CheckGolden(ModelRunner& model, const nlohmann::json& golden) {
  const auto vocab = static_cast<size_t>(model.config().vocab);
  REQUIRE(golden["cases"].size() >= 2);
  for (const nlohmann::json& each : golden["cases"]) {
    const auto expected = each["continuation"].get<std::vector<int32_t>>();
    REQUIRE(expected.size() == 32);
    std::vector<float> rows;
    const auto text = Greedy(model, each["prompt"], expected.size(), rows);
    CHECK(LargestError(each, rows, vocab) <= kRefError);
    CHECK(text == expected);
  }
}

// Of tables that round activations against the oracle, over all rows of a checkpoint. Random
// networks are much more sensitive than trained ones.
inline constexpr double kFastMeanKl = 0.01;

// Mean divergence of the rows' distributions, [rows, vocab] logits each.
inline double MeanKl(const std::vector<float>& expected, const std::vector<float>& found,
                     size_t vocab) {
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

// The same greedy text, and logits within kRefError, from two models.
inline void CheckSameText(ModelRunner& expected, ModelRunner& found, const nlohmann::json& golden) {
  const auto vocab = static_cast<size_t>(expected.config().vocab);
  for (const nlohmann::json& each : golden["cases"]) {
    std::vector<float> wanted;
    std::vector<float> rows;
    const auto text = Greedy(expected, each["prompt"], 32, wanted);
    CHECK(Greedy(found, each["prompt"], 32, rows) == text);
    REQUIRE(rows.size() == wanted.size());
    double largest = 0;
    for (size_t i = 0; i < rows.size(); i += vocab) {
      largest = std::max(largest, RowError(&wanted[i], &rows[i], vocab));
    }
    CHECK(largest <= kRefError);
  }
}

}  // namespace weft::test
