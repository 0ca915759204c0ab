// Forward, sample, and what comes of it.
#include <algorithm>
#include <optional>
#include <utility>

#include "libs/base/status.h"
#include "libs/engine/engine_impl.h"

namespace weft::engine {
namespace {

// An output token takes a whole pass over the weights, a prompt token shares one.
constexpr double kOutputTokenCost = 2.0;

}  // namespace

size_t Engine::Impl::Build(std::span<const Scheduled> rows) {
  batch_.Clear();
  size_t wanted = 0;
  for (const auto& [s, count] : rows) {
    batch_.sequences.push_back({.first_row = batch_.rows(),
                                .rows = count,
                                .block_table = s->kv.blocks.data(),
                                .blocks = static_cast<int32_t>(s->kv.blocks.size()),
                                .context_tokens = s->computed + count});
    for (int32_t position = s->computed; position < s->computed + count; ++position) {
      const int32_t block = s->kv.blocks[static_cast<size_t>(position / kBlockTokens)];
      const bool last = position + 1 == s->ahead() || s->scores_at(position);
      batch_.tokens.push_back(position < s->known() ? s->tokens[static_cast<size_t>(position)] : 0);
      batch_.positions.push_back(position);
      batch_.cache_slots.push_back(block * kBlockTokens + position % kBlockTokens);
      batch_.wants_logits.push_back(last ? 1 : 0);
      wanted += last ? 1 : 0;
    }
  }
  return wanted;
}

void Engine::Impl::Run(std::span<const Scheduled> rows, StepOutput* out) {
  const size_t wanted = Build(rows);
  const auto vocab = static_cast<size_t>(limits_.vocab_size);
  if (logits_.size() < wanted * vocab) logits_.resize(wanted * vocab);
  const absl::Status status = model_->Forward(batch_, std::span(logits_).first(wanted * vocab));
  if (!status.ok()) {
    ++stats_.failures;
    out->model_gone = model_->health();
    if (!out->model_gone.ok()) return;
    if (rows.size() == 1) {
      return Finish(rows[0].sequence, FinishReason::kError, Annotate(status, "forward"), out);
    }
    // One by one gives the same bits, and only the sequences that fail alone end.
    for (size_t i = 0; i < rows.size() && out->model_gone.ok(); ++i) Run(rows.subspan(i, 1), out);
    return;
  }
  size_t row = 0;
  const auto next_row = [&] {
    return std::span<const float>(logits_).subspan(row++ * vocab, vocab);
  };
  for (const Scheduled& scheduled : rows) {
    Sequence* s = scheduled.sequence;
    const int32_t end = s->computed + scheduled.rows;
    for (int32_t position = s->computed; position < std::min(end, s->known() - 1); ++position) {
      if (!s->scores_at(position)) continue;
      const int32_t token = s->tokens[static_cast<size_t>(position) + 1];
      ReportPrompt(s, position, sampler_.Score(next_row(), token, s->item.sampling.top_logprobs),
                   out);
      s->prompt_scored = position + 1;
    }
    Advance(scheduled, end == s->known() ? next_row() : std::span<const float>(), out);
  }
}

// The prompt's rows of a sequence come in order, so its log probabilities do.
void Engine::Impl::ReportPrompt(Sequence* s, int32_t position, sampling::TokenLogprob logprob,
                                StepOutput* out) {
  if (out->prompt_rows.empty() || out->prompt_rows.back().id != s->item.id) {
    out->prompt_rows.push_back({.id = s->item.id,
                                .attempt = s->item.attempt,
                                .first_position = static_cast<uint32_t>(position) + 1,
                                .begin = static_cast<uint32_t>(out->prompt_logprobs.size()),
                                .count = 0});
  }
  out->prompt_logprobs.push_back(std::move(logprob));
  ++out->prompt_rows.back().count;
}

void Engine::Impl::Advance(const Scheduled& scheduled, std::span<const float> logits,
                           StepOutput* out) {
  Sequence* s = scheduled.sequence;
  s->computed += scheduled.rows;
  cache_.Commit(&s->kv, s->tokens, s->computed);
  if (logits.empty()) return;
  if (s->output().size() >= s->item.sampling.max_tokens) {  // the prompt was all that was wanted
    return Finish(s, FinishReason::kLength, absl::OkStatus(), out);
  }
  absl::StatusOr<sampling::Sample> sample = sampler_.Choose({.logits = logits,
                                                             .params = &s->item.sampling,
                                                             .prompt = s->prompt(),
                                                             .output = s->output(),
                                                             .choice = s->item.choice,
                                                             .eos_ids = limits_.eos_ids,
                                                             .mask = {}});
  if (!sample.ok()) return Finish(s, FinishReason::kError, sample.status(), out);
  Emit(s, *std::move(sample), out);
}

void Engine::Impl::Emit(Sequence* s, sampling::Sample sample, StepOutput* out) {
  const SteadyTime now = clock_.Now();
  if (s->first_token.has_value()) {
    out->itl_seconds.push_back(Seconds(now - s->last_token));
  } else {
    out->ttft_seconds.push_back(Seconds(now - s->submitted));
    s->first_token = now;
  }
  s->last_token = now;
  StepRow row{.id = s->item.id,
              .attempt = s->item.attempt,
              .first_index = static_cast<uint32_t>(s->output().size()),
              .token_begin = static_cast<uint32_t>(out->tokens.size()),
              .token_count = 1,
              .logprob_begin = static_cast<uint32_t>(out->logprobs.size()),
              .logprob_count = 0};
  out->tokens.push_back(sample.token);
  if (sample.logprob.has_value()) {
    row.logprob_count = 1;
    out->logprobs.push_back(*std::move(sample.logprob));
  }
  out->rows.push_back(row);
  s->tokens.push_back(sample.token);
  ++stats_.output_tokens;
  queue_.Charge(s->item.share_key, s->item.weight, kOutputTokenCost);
  if (std::optional<FinishReason> reason = FinishRule(*s, limits_)) {
    Finish(s, *reason, absl::OkStatus(), out);
  }
}

void Engine::Impl::Finish(Sequence* s, FinishReason reason, absl::Status error, StepOutput* out) {
  const SteadyTime now = clock_.Now();
  const SteadyTime started = s->started.value_or(now);
  const SteadyTime first = s->first_token.value_or(now);
  out->finishes.push_back({.id = s->item.id,
                           .attempt = s->item.attempt,
                           .reason = reason,
                           .error = std::move(error),
                           .prompt_tokens = static_cast<uint32_t>(s->prompt_size),
                           .output_tokens = static_cast<uint32_t>(s->output().size()),
                           .cached_prompt_tokens = s->cached_prompt_tokens,
                           .preemptions = s->preemptions,
                           .queue_time = Micros(s->submitted, started),
                           .prefill_time = Micros(started, first),
                           .decode_time = Micros(first, now)});
  if (s->running) {
    cache_.Release(&s->kv);
    std::erase(running_, s);
  } else {
    queue_.Remove(s->item.id);
  }
  sequences_.erase(s->item.id);
}

}  // namespace weft::engine
