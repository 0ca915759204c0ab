// Steps of a device: the next one is launched before the last one has landed.
//
// A sequence whose last token is on its way takes part in the next step like any other; where that
// token then ends it (a stop token, a cancel), its row was computed in vain and its answer is
// dropped. What a sequence holds is given back at once all the same: a device does steps in their
// order, so whoever gets its blocks writes them after the last step that read them.
#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "libs/engine/engine_impl.h"

namespace weft::engine {

Engine::Impl::~Impl() {
  while (steps_ahead_ != nullptr && steps_ahead_->in_flight() > 0) {
    if (!steps_ahead_->Collect().ok()) break;
  }
}

bool Engine::Impl::Ends(const Sequence& s) const {
  if (s.pending == 0) return false;
  return s.output().size() + 1 >= s.item.sampling.max_tokens || s.ahead() >= limits_.max_context;
}

void Engine::Impl::StepAhead(StepOutput* out) {
  const bool launches = !scheduled_.empty();
  if (launches) Launch(out);
  const size_t stay = launches ? 1 : 0;
  if (out->model_gone.ok() && flights_.size() > stay) Land(out);
}

void Engine::Impl::Launch(StepOutput* out) {
  Build(scheduled_);
  Flight flight{.launched = clock_.Now(),
                .rows = batch_.rows(),
                .prefill = out->prefill_rows >= kRowsWorthMeasuring,
                .followed = !flights_.empty()};
  choices_.Clear();
  for (const auto& [s, count] : scheduled_) {
    for (int32_t position = s->computed; position < s->computed + count; ++position) {
      choices_.AddRow(position < s->known() ? -1 : s->pending_answer);
      const bool last = position + 1 == s->ahead();
      if (!last && !s->scores_at(position)) continue;
      if (last) {
        choices_.Choose(*s);
      } else {
        choices_.Score(*s, s->tokens[static_cast<size_t>(position) + 1]);
      }
      flight.answers.push_back(
          {.id = s->item.id, .serial = s->serial, .score = last ? -1 : position});
    }
  }
  const absl::Status status = steps_ahead_->Launch(batch_, choices_.view());
  if (!status.ok()) {
    ++stats_.failures;
    out->model_gone = model_->health();
    if (!out->model_gone.ok()) return;
    for (const auto& [s, count] : scheduled_) {
      Finish(s, FinishReason::kError, Annotate(status, "forward"), out);
    }
    return;
  }
  int32_t answer = 0;
  for (const auto& [s, count] : scheduled_) {
    const int32_t end = s->computed + count;
    for (int32_t position = s->computed; position < end; ++position) {
      if (position + 1 < s->ahead() && s->scores_at(position)) {
        s->prompt_scored = position + 1;
        ++answer;
      }
    }
    const bool chooses = end == s->ahead();
    s->computed = end;
    cache_.Commit(&s->kv, s->tokens, std::min(s->computed, s->known()));
    if (!chooses) continue;
    ++s->pending;
    s->pending_answer = answer++;
  }
  flights_.push_back(std::move(flight));
}

sampling::TokenLogprob Engine::Impl::LogprobOf(const StepAnswers& answers, size_t index,
                                               int32_t token, uint32_t top) {
  sampling::TokenLogprob out;
  out.token = token;
  out.logprob = answers.logprobs[index];
  const size_t first = index * gpu::kMaxSampledTop;
  for (size_t i = first; i < first + top; ++i) {
    if (answers.top_tokens[i] < 0) break;
    out.top_ids.push_back(answers.top_tokens[i]);
    out.top_logprobs.push_back(answers.top_logprobs[i]);
  }
  return out;
}

void Engine::Impl::Land(StepOutput* out) {
  const absl::StatusOr<StepAnswers> answers = steps_ahead_->Collect();
  const Flight flight = std::move(flights_.front());
  flights_.pop_front();
  if (!answers.ok()) {
    ++stats_.failures;
    out->model_gone = model_->health();
    if (out->model_gone.ok()) out->model_gone = answers.status();
    return;
  }
  const SteadyTime now = clock_.Now();
  CountStep(Millis(now - std::max(flight.launched, landed_)), flight.rows, flight.prefill);
  landed_ = now;
  stats_.device_seconds += answers->device_ms * 1e-3;
  if (flight.followed) {
    out->gap_seconds = answers->idle_ms * 1e-3;
    stats_.gap_seconds += *out->gap_seconds;
    ++stats_.gaps;
  }
  WEFT_CHECK(answers->tokens.size() >= flight.answers.size());
  for (size_t i = 0; i < flight.answers.size(); ++i) {
    const Expected& expected = flight.answers[i];
    const auto found = sequences_.find(expected.id);
    if (found == sequences_.end() || found->second->serial != expected.serial) continue;
    Sequence* s = found->second.get();
    if (expected.score >= 0) {
      const int32_t token = s->tokens[static_cast<size_t>(expected.score) + 1];
      ReportPrompt(s, expected.score, LogprobOf(*answers, i, token, s->item.sampling.top_logprobs),
                   out);
      continue;
    }
    --s->pending;
    if (s->output().size() >= s->item.sampling.max_tokens) {
      Finish(s, FinishReason::kLength, absl::OkStatus(), out);
      continue;
    }
    const int32_t token = answers->tokens[i];
    if (token < 0) {
      Finish(s, FinishReason::kError, Internal("the model's logits leave no token to choose"), out);
      continue;
    }
    sampling::Sample sample{.token = token, .logprob = std::nullopt};
    if (s->item.sampling.logprobs) {
      sample.logprob = LogprobOf(*answers, i, token, s->item.sampling.top_logprobs);
    }
    Emit(s, std::move(sample), out);
  }
}

}  // namespace weft::engine
