#include "tests/support/fake_steps.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "libs/base/status.h"

namespace weft {

absl::Status FakeSteps::Launch(const StepBatch& batch, const StepChoices& choices) {
  WEFT_CHECK(steps_.size() < kStepsAhead);
  WEFT_CHECK(choices.fed.size() == batch.tokens.size());
  WEFT_CHECK(choices.rows.size() == choices.counted.size());
  WEFT_RETURN_IF_ERROR(model_.Check(batch));
  Step step{.batch = batch,
            .tables = {},
            .rows = {choices.rows.begin(), choices.rows.end()},
            .edits = {choices.edits.begin(), choices.edits.end()},
            .fed = {choices.fed.begin(), choices.fed.end()},
            .counted = {choices.counted.begin(), choices.counted.end()}};
  for (StepBatch::Sequence& s : step.batch.sequences) {
    step.tables.emplace_back(s.block_table, s.block_table + s.blocks);
    s.block_table = step.tables.back().data();
  }
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::StatusOr<StepAnswers> FakeSteps::Collect() {
  WEFT_CHECK(!steps_.empty());
  if (!failed_.ok()) {
    steps_.pop_front();
    return failed_;
  }
  Step step = std::move(steps_.front());
  steps_.pop_front();
  const auto chosen = [&](int32_t answer) { return before_.at(static_cast<size_t>(answer)); };
  for (size_t row = 0; row < step.fed.size(); ++row) {
    if (step.fed[row] >= 0) step.batch.tokens[row] = std::max(chosen(step.fed[row]), 0);
  }
  const auto vocab = static_cast<size_t>(model_.config().vocab);
  std::vector<float> logits(step.rows.size() * vocab);
  failed_ = model_.Forward(step.batch, logits);
  WEFT_RETURN_IF_ERROR(failed_);
  tokens_.assign(step.rows.size(), -1);
  logprobs_.assign(step.rows.size(), 0);
  top_tokens_.assign(step.rows.size() * gpu::kMaxSampledTop, -1);
  top_logprobs_.assign(step.rows.size() * gpu::kMaxSampledTop, 0);
  for (size_t i = 0; i < step.rows.size(); ++i) {
    if (step.counted[i] >= 0) {
      // As feed_gpu.h says: the last edit is the token's, unless it has one.
      gpu::SampleRow& row = step.rows[i];
      const int32_t token = chosen(step.counted[i]);
      const auto first = step.edits.begin() + row.first_edit;
      const auto last = first + row.edits - 1;
      WEFT_CHECK(last->token == -1);
      const auto own = std::find_if(first, last, [&](auto& edit) { return edit.token == token; });
      if (own != last) {
        ++own->count;
        own->repeated = 1;
        --row.edits;
      } else {
        *last = {.token = token, .count = 1, .repeated = 1};
      }
    }
    Choose(step, i, std::span<const float>(logits).subspan(i * vocab, vocab));
  }
  before_ = tokens_;
  StepAnswers answers;
  answers.tokens = tokens_;
  answers.logprobs = logprobs_;
  answers.top_tokens = top_tokens_;
  answers.top_logprobs = top_logprobs_;
  answers.device_ms = 1;
  return answers;
}

void FakeSteps::Choose(const Step& step, size_t i, std::span<const float> logits) {
  const gpu::SampleRow& row = step.rows[i];
  if (row.given >= 0) {
    tokens_[i] = row.given;
  } else {
    std::vector<float> edited(logits.begin(), logits.end());
    for (int32_t e = row.first_edit; e < row.first_edit + row.edits; ++e) {
      const gpu::LogitEdit& edit = step.edits[static_cast<size_t>(e)];
      float& x = edited[static_cast<size_t>(edit.token)];
      x += edit.bias;
      if (edit.repeated != 0) {
        x = x > 0 ? x / row.repetition_penalty : x * row.repetition_penalty;
      }
      if (edit.count > 0) {
        x -= row.frequency_penalty * static_cast<float>(edit.count) + row.presence_penalty;
      }
      if (edit.banned != 0) x = -std::numeric_limits<float>::infinity();
    }
    const sampling::SamplingParams params{.temperature = row.temperature,
                                          .top_p = row.top_p,
                                          .top_k = static_cast<uint32_t>(row.top_k),
                                          .min_p = row.min_p,
                                          .seed = row.seed};
    // Only the size of the output matters here: it is the output index.
    const std::vector<int32_t> output(row.output_index);
    const auto sample = sampler_.Choose(
        {.logits = edited, .params = &params, .output = output, .choice = row.choice});
    tokens_[i] = sample.ok() ? sample->token : -1;
  }
  if (row.logprobs == 0 || tokens_[i] < 0) return;
  const sampling::TokenLogprob scored =
      sampler_.Score(logits, tokens_[i], static_cast<uint32_t>(row.top));
  logprobs_[i] = scored.logprob;
  std::copy(scored.top_ids.begin(), scored.top_ids.end(),
            top_tokens_.begin() + static_cast<int64_t>(i) * gpu::kMaxSampledTop);
  std::copy(scored.top_logprobs.begin(), scored.top_logprobs.end(),
            top_logprobs_.begin() + static_cast<int64_t>(i) * gpu::kMaxSampledTop);
}

}  // namespace weft
