#include "libs/ops/sample_gpu.h"

#include <cmath>
#include <map>
#include <random>

#include "libs/sampling/sampler.h"
#include "tests/unit/ops/gpu/rig.h"

namespace weft {
namespace {

using sampling::SamplingParams;

// One row of a batch, as the host's sampler takes it.
struct Row {
  std::vector<float> logits;
  SamplingParams params = {};
  std::vector<int32_t> prompt = {}, output = {};
  uint32_t choice = 0;
  std::vector<int32_t> eos_ids = {};
  std::vector<uint32_t> mask = {};
};

struct Answers {
  std::vector<int32_t> tokens, top_tokens;
  std::vector<float> logprobs, top_logprobs, logits;
};

// What happens to the logits, one edit a token.
std::vector<gpu::LogitEdit> EditsOf(const Row& row) {
  std::map<int32_t, gpu::LogitEdit> edits;
  const SamplingParams& p = row.params;
  for (const auto& [token, bias] : p.logit_bias) edits[token].bias += bias;
  for (const int32_t token : row.prompt) edits[token].repeated = 1;
  for (const int32_t token : row.output) {
    edits[token].repeated = 1;
    ++edits[token].count;
  }
  if (row.output.size() < p.min_tokens) {
    for (const int32_t token : row.eos_ids) edits[token].banned = 1;
    for (const int32_t token : p.stop_token_ids) edits[token].banned = 1;
  }
  std::vector<gpu::LogitEdit> out;
  for (auto& [token, edit] : edits) {
    edit.token = token;
    out.push_back(edit);
  }
  return out;
}

Answers OnGpu(const std::vector<Row>& rows) {
  test::Rig rig;
  std::vector<float> logits;
  std::vector<gpu::SampleRow> of;
  std::vector<gpu::LogitEdit> edits;
  std::vector<uint32_t> masks;
  int32_t mask_count = 0;
  for (const Row& row : rows) {
    const SamplingParams& p = row.params;
    logits.insert(logits.end(), row.logits.begin(), row.logits.end());
    const std::vector<gpu::LogitEdit> own = EditsOf(row);
    of.push_back({.seed = p.seed,
                  .choice = row.choice,
                  .output_index = static_cast<uint32_t>(row.output.size()),
                  .temperature = p.temperature,
                  .top_p = p.top_p,
                  .min_p = p.min_p,
                  .repetition_penalty = p.repetition_penalty,
                  .presence_penalty = p.presence_penalty,
                  .frequency_penalty = p.frequency_penalty,
                  .top_k = static_cast<int32_t>(p.top_k),
                  .edits = static_cast<int32_t>(own.size()),
                  .first_edit = static_cast<int32_t>(edits.size()),
                  .mask = row.mask.empty() ? -1 : mask_count,
                  .logprobs = p.logprobs ? 1 : 0,
                  .top = static_cast<int32_t>(p.top_logprobs)});
    edits.insert(edits.end(), own.begin(), own.end());
    masks.insert(masks.end(), row.mask.begin(), row.mask.end());
    if (!row.mask.empty()) ++mask_count;
  }
  const auto device_logits = rig.Put(logits);
  const auto device_of = rig.Put(of);
  const auto device_edits = rig.Put(edits);
  const auto device_masks = rig.Put(masks);
  const size_t top = rows.size() * gpu::kMaxSampledTop;
  const auto tokens = rig.Room<int32_t>(rows.size());
  // Rows that do not ask for log probabilities leave theirs alone.
  const auto logprobs = rig.Put(std::vector<float>(rows.size()));
  const auto top_tokens = rig.Put(std::vector<int32_t>(top, -1));
  const auto top_logprobs = rig.Put(std::vector<float>(top));
  rig.Run(gpu::Sample({.logits = device_logits.get(),
                       .of = device_of.get(),
                       .edits = device_edits.get(),
                       .masks = device_masks.get(),
                       .tokens = tokens.get(),
                       .logprobs = logprobs.get(),
                       .top_tokens = top_tokens.get(),
                       .top_logprobs = top_logprobs.get(),
                       .rows = static_cast<int32_t>(rows.size()),
                       .vocab = static_cast<int32_t>(rows.front().logits.size())},
                      rig.stream()));
  return {rig.Get(tokens), rig.Get(top_tokens), rig.Get(logprobs), rig.Get(top_logprobs),
          rig.Get(device_logits)};
}

std::vector<float> RandomLogits(size_t vocab, uint32_t seed, float spread = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(vocab);
  for (float& x : logits) x = normal(random);
  return logits;
}

void CheckAgainstHost(const std::vector<Row>& rows) {
  const Answers found = OnGpu(rows);
  const auto vocab = static_cast<int32_t>(rows.front().logits.size());
  sampling::Sampler sampler(vocab);
  for (size_t r = 0; r < rows.size(); ++r) {
    INFO("row " << r);
    const Row& row = rows[r];
    const auto expected = sampler.Choose({.logits = row.logits,
                                          .params = &row.params,
                                          .prompt = row.prompt,
                                          .output = row.output,
                                          .choice = row.choice,
                                          .eos_ids = row.eos_ids,
                                          .mask = row.mask});
    if (!expected.ok()) {
      CHECK(found.tokens[r] == -1);
      continue;
    }
    CHECK(found.tokens[r] == expected->token);
    if (!row.params.logprobs) continue;
    CHECK(std::abs(found.logprobs[r] - expected->logprob->logprob) < 1e-5f);
    for (size_t i = 0; i < row.params.top_logprobs; ++i) {
      const size_t at = r * gpu::kMaxSampledTop + i;
      CHECK(found.top_tokens[at] == expected->logprob->top_ids[i]);
      CHECK(std::abs(found.top_logprobs[at] - expected->logprob->top_logprobs[i]) < 1e-5f);
    }
    // The logits are as they were.
    CHECK(std::equal(row.logits.begin(), row.logits.end(),
                     found.logits.begin() + static_cast<int64_t>(r) * vocab));
  }
}

TEST_CASE("The GPU samples the host's tokens under every filter", "[gpu][sample]") {
  std::vector<Row> rows;
  for (uint32_t seed = 0; seed < 3; ++seed) {
    for (const uint32_t top_k : {0u, 1u, 7u, 5000u}) {
      for (const float top_p : {1.0f, 0.9f, 0.3f}) {
        for (const float min_p : {0.0f, 0.05f}) {
          Row row{.logits = RandomLogits(1003, seed)};
          row.params.temperature = 0.5f + 0.5f * static_cast<float>(seed);
          row.params.top_k = top_k;
          row.params.top_p = top_p;
          row.params.min_p = min_p;
          row.params.seed = 0x123456789abcdefull * (rows.size() + 1);
          row.choice = seed;
          row.output.assign(rows.size() % 5, 3);
          rows.push_back(row);
        }
      }
    }
  }
  CheckAgainstHost(rows);
}

TEST_CASE("Bias, penalties, bans and masks act on the GPU as on the host", "[gpu][sample]") {
  std::vector<Row> rows;
  for (uint32_t i = 0; i < 8; ++i) {
    Row row{.logits = RandomLogits(500, 10 + i, 1)};
    row.params.seed = i + 1;
    row.params.temperature = i % 4 == 0 ? 0 : 1.1f;
    row.params.repetition_penalty = 1.3f;
    row.params.presence_penalty = 0.4f;
    row.params.frequency_penalty = 0.2f;
    row.params.min_tokens = i < 4 ? 10 : 0;
    row.params.stop_token_ids = {5, 6};
    row.eos_ids = {7, 8};
    for (int32_t token = 0; token < 40; ++token) row.params.logit_bias.emplace_back(11 * token, 2);
    for (int32_t token = 0; token < 60; ++token) row.prompt.push_back(token * 3 % 500);
    row.output = {7, 7, 7, 33, 34, 499};
    if (i % 2 == 1) {
      row.mask.assign(16, 0);
      for (uint32_t token = i; token < 500; token += 7) row.mask[token / 32] |= 1u << token % 32;
    }
    rows.push_back(row);
  }
  CheckAgainstHost(rows);
}

TEST_CASE("Log probabilities of the GPU are those of the raw logits", "[gpu][sample]") {
  std::vector<Row> rows;
  for (const uint32_t top : {0u, 1u, 5u, 20u}) {
    Row row{.logits = RandomLogits(777, top)};
    row.params.logprobs = true;
    row.params.top_logprobs = top;
    row.params.temperature = 0.8f;
    row.params.seed = top;
    row.params.logit_bias = {{3, 20.0f}};
    rows.push_back(row);
  }
  // Equal logits: the lower id first.
  rows[2].logits.assign(777, 1.5f);
  CheckAgainstHost(rows);
}

TEST_CASE("Ties, infinities and rows without a choice end as on the host", "[gpu][sample]") {
  std::vector<Row> rows(6);
  for (Row& row : rows) {
    row.logits = RandomLogits(300, 9);
    row.params.seed = 77;
  }
  rows[0].logits.assign(300, 0.0f);
  rows[0].params.top_k = 11;
  rows[1].logits.assign(300, 0.0f);
  rows[1].logits[250] = -0.0f;
  rows[1].params.temperature = 0;
  rows[2].logits[17] = NAN;
  rows[2].logits[18] = -INFINITY;
  rows[3].mask.assign(10, 0);  // none is allowed
  rows[4].logits[3] = INFINITY;
  rows[5].mask.assign(10, 0);
  rows[5].mask[2] = 1;  // one is
  rows[5].params.top_p = 0.5f;
  CheckAgainstHost({rows[0], rows[1], rows[3], rows[4], rows[5]});
  // A NaN differs from itself, so that the logits cannot be compared afterwards.
  CHECK(OnGpu({rows[2]}).tokens.front() != 17);
}

TEST_CASE("Draws of the GPU follow the weights", "[gpu][sample]") {
  // Three tokens of 1/2, 1/4 and 1/4.
  Row row{.logits = {std::log(2.0f), 0, 0}};
  std::vector<Row> rows(100, row);
  for (size_t i = 0; i < rows.size(); ++i) rows[i].params.seed = i;
  std::vector<int> counts(3);
  for (const int32_t token : OnGpu(rows).tokens) ++counts[static_cast<size_t>(token)];
  CHECK(std::abs(counts[0] - 50) < 20);
  CHECK(std::abs(counts[1] - 25) < 18);
}

}  // namespace
}  // namespace weft
