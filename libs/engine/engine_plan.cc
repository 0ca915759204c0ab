// What runs in the next step: arrivals, cancels, who yields, who starts.
#include <algorithm>
#include <optional>
#include <utility>

#include "libs/base/status.h"
#include "libs/engine/engine_impl.h"

namespace weft::engine {
namespace {

constexpr size_t kMaxAdmissionsPerStep = 16;
// Prefill rows of a step before anything was measured, and at the least.
constexpr int32_t kFirstChunk = 64;
constexpr int32_t kSmallestChunk = 16;
// Logits of prompt rows in one step, for those who want them all.
constexpr int64_t kPromptLogitBytes = 16 << 20;

}  // namespace

// ---- Collect: arrivals, cancels, deadlines. ----

void Engine::Impl::Collect(SteadyTime now, StepOutput* out) {
  inbox_.Take(&inbox_contents_);
  for (Inbox::Arrival& arrival : inbox_contents_.items) Accept(std::move(arrival), out);
  inbox_contents_.items.clear();
  for (uint64_t id : inbox_contents_.cancels) {
    auto it = sequences_.find(id);
    if (it == sequences_.end()) continue;
    Finish(it->second.get(), FinishReason::kCancelled, absl::OkStatus(), out);
  }
  std::vector<Sequence*> late;
  for (const auto& [id, sequence] : sequences_) {
    if (sequence->item.deadline.has_value() && *sequence->item.deadline <= now) {
      late.push_back(sequence.get());
    }
  }
  for (Sequence* sequence : late) {
    Finish(
        sequence, FinishReason::kError,
        DeadlineExceeded("deadline: passed {} tokens into the output", sequence->output().size()),
        out);
  }
}

void Engine::Impl::Accept(Inbox::Arrival arrival, StepOutput* out) {
  absl::Status status = ValidateItem(arrival.item, limits_);
  auto owned = std::make_unique<Sequence>(std::move(arrival.item), arrival.at);
  Sequence* sequence = owned.get();
  sequence->serial = next_serial_++;
  sequences_[sequence->item.id] = std::move(owned);
  if (!status.ok()) return Finish(sequence, FinishReason::kError, std::move(status), out);
  // An earlier attempt may have got to the end without anybody hearing of it.
  if (std::optional<FinishReason> reason = FinishRule(*sequence, limits_)) {
    return Finish(sequence, *reason, absl::OkStatus(), out);
  }
  status = queue_.Push({.id = sequence->item.id,
                        .share_key = sequence->item.share_key,
                        .weight = sequence->item.weight,
                        .priority = sequence->item.priority,
                        .cost = static_cast<double>(sequence->known())});
  if (!status.ok()) Finish(sequence, FinishReason::kError, std::move(status), out);
}

// ---- Plan: who runs, who yields, who starts. ----

int32_t Engine::Impl::PrefillCap() const {
  if (options_.target_step.count() == 0) return options_.token_budget;
  if (ms_per_prefill_row_ == 0.0 && stats_.steps == 0) {
    return std::min(kFirstChunk, options_.token_budget);
  }
  const double rows =
      static_cast<double>(options_.target_step.count()) / std::max(ms_per_prefill_row_, 1e-6);
  return static_cast<int32_t>(
      std::clamp<double>(rows, kSmallestChunk, std::max(kSmallestChunk, options_.token_budget)));
}

// Whether a leader is computing a block that `s`, with `computed` tokens, would compute next.
bool Engine::Impl::Follows(const Sequence& s, int32_t computed) const {
  if (!options_.prefix_cache || s.kv.detached) return false;
  return std::any_of(leaders_.begin(), leaders_.end(), [&](const Sequence* leader) {
    if (leader->item.kv_salt != s.item.kv_salt || leader->kv.detached) return false;
    const auto most = static_cast<size_t>(std::min(s.cacheable(), leader->known()));
    const auto differ =
        std::mismatch(s.tokens.begin(), s.tokens.begin() + most, leader->tokens.begin());
    const auto same = static_cast<int32_t>(differ.first - s.tokens.begin());
    const int32_t shared = same - same % kBlockTokens;
    return shared > computed && shared > leader->computed;
  });
}

void Engine::Impl::Plan() {
  // Prompts that arrived together and begin alike are computed once: the others follow.
  running_views_.clear();
  planned_.clear();
  leaders_.clear();
  for (Sequence* s : running_) {
    if (Ends(*s)) continue;
    bool follows = false;
    if (s->known() - s->computed > 1) {
      const int32_t computed = cache_.CatchUp(&s->kv, s->tokens, s->computed, s->cacheable());
      const int32_t shared = computed - s->computed;
      s->computed = computed;
      if (s->preemptions == 0 && shared > 0) {
        stats_.prefix_hit_tokens += static_cast<uint64_t>(shared);
        s->cached_prompt_tokens = std::min(s->cached_prompt_tokens + static_cast<uint32_t>(shared),
                                           static_cast<uint32_t>(s->prompt_size));
        queue_.Charge(s->item.share_key, s->item.weight, -static_cast<double>(shared));
      }
      follows = Follows(*s, s->computed);
      if (!follows && s->known() - s->computed > 1) leaders_.push_back(s);
    }
    planned_.push_back(s);
    running_views_.push_back({.known = s->ahead(),
                              .computed = s->computed,
                              .blocks = static_cast<int32_t>(s->kv.blocks.size()),
                              .releasable = cache_.Releasable(s->kv),
                              .priority = s->item.priority,
                              .admitted = s->admitted,
                              .follows = follows,
                              .all_logits = s->scores_prompt()});
  }
  waiting_views_.clear();
  const size_t slots = static_cast<size_t>(options_.max_sequences) - running_.size();
  for (const batching::FairEntry& entry : queue_.Peek(std::min(slots, kMaxAdmissionsPerStep))) {
    const Sequence& s = *sequences_.at(entry.id);
    const kv::PrefixMatch match = cache_.Match(s.item.kv_salt, s.tokens, s.cacheable());
    const bool follows = Follows(s, match.tokens);
    if (!follows && s.known() - match.tokens > 1) leaders_.push_back(&s);
    waiting_views_.push_back({.known = s.known(),
                              .cached = match.tokens,
                              .pinned_blocks = match.pinned_blocks,
                              .follows = follows,
                              .all_logits = s.scores_prompt()});
  }
  planner_({.running = running_views_,
            .waiting = waiting_views_,
            .available_blocks = cache_.available(),
            .prefill_cap = PrefillCap(),
            .logit_rows_cap = static_cast<int32_t>(std::max<int64_t>(
                1, kPromptLogitBytes / (int64_t{limits_.vocab_size} * sizeof(float))))},
           &plan_);
  // Blocks that a last step on its way still holds may keep all others waiting for it.
  WEFT_CHECK(sequences_.empty() || !flights_.empty() || !plan_.running.empty() ||
             !plan_.admitted.empty());

  scheduled_.clear();
  for (const auto& rows : plan_.running) {
    scheduled_.push_back({planned_[static_cast<size_t>(rows.index)], rows.rows});
  }
  std::vector<Sequence*> victims;
  for (int32_t index : plan_.preempted) victims.push_back(planned_[static_cast<size_t>(index)]);
  for (Sequence* victim : victims) Preempt(victim);
}

void Engine::Impl::Preempt(Sequence* sequence) {
  cache_.Release(&sequence->kv);
  sequence->computed = 0;
  sequence->running = false;
  ++sequence->preemptions;
  ++stats_.preemptions;
  std::erase(running_, sequence);
  const absl::Status status = queue_.PushFront({.id = sequence->item.id,
                                                .share_key = sequence->item.share_key,
                                                .weight = sequence->item.weight,
                                                .priority = sequence->item.priority,
                                                .cost = 0.0});
  WEFT_CHECK(status.ok());
}

void Engine::Impl::Admit(SteadyTime now, StepOutput* out) {
  // The order of the plan is that of Peek: no charge may come between the pops.
  std::vector<Sequence*> admitted;
  for (size_t i = 0; i < plan_.admitted.size(); ++i) {
    const std::optional<batching::FairEntry> entry = queue_.Pop();
    WEFT_CHECK(entry.has_value());
    admitted.push_back(sequences_.at(entry->id).get());
  }
  for (size_t i = 0; i < admitted.size(); ++i) {
    Sequence* s = admitted[i];
    s->running = true;
    s->admitted = next_admission_++;
    running_.push_back(s);
    // All attach before anything grows: growing evicts what the plan counted as cached.
    s->computed = cache_.Attach(&s->kv, s->item.kv_salt, s->tokens, s->cacheable());
    WEFT_CHECK(s->computed == waiting_views_[i].cached);
    if (plan_.admitted[i].rows > 0) scheduled_.push_back({s, plan_.admitted[i].rows});
    if (s->started.has_value()) continue;
    s->started = now;
    s->cached_prompt_tokens =
        static_cast<uint32_t>(std::min(s->computed, static_cast<int32_t>(s->prompt_size)));
    stats_.prompt_tokens += s->prompt_size;
    stats_.prefix_query_tokens += s->tokens.size();
    stats_.prefix_hit_tokens += static_cast<uint64_t>(s->computed);
    // What came from the cache cost nothing.
    queue_.Charge(s->item.share_key, s->item.weight, -static_cast<double>(s->computed));
    out->starts.push_back({.id = s->item.id,
                           .attempt = s->item.attempt,
                           .cached_prompt_tokens = s->cached_prompt_tokens,
                           .queue_time = Micros(s->submitted, now)});
  }
  for (const Scheduled& scheduled : scheduled_) {
    Sequence* s = scheduled.sequence;
    WEFT_CHECK(cache_.Grow(&s->kv, s->computed + scheduled.rows));
    ++out->sequences;
    (s->ahead() - s->computed == 1 ? out->decode_rows : out->prefill_rows) +=
        static_cast<uint32_t>(scheduled.rows);
  }
}

}  // namespace weft::engine
