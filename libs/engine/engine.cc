#include "libs/engine/engine.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "libs/batching/fair_queue.h"
#include "libs/batching/step_planner.h"
#include "libs/engine/inbox.h"
#include "libs/engine/sequence.h"
#include "libs/kv/kv_cache.h"
#include "libs/sampling/sampler.h"

namespace weft::engine {
namespace {

static_assert(kv::kBlockTokens == kBlockTokens);

// An output token takes a whole pass over the weights, a prompt token shares one.
constexpr double kOutputTokenCost = 2.0;
constexpr size_t kMaxAdmissionsPerStep = 16;
// Prefill rows of a step before anything was measured, and at the least.
constexpr int32_t kFirstChunk = 64;
constexpr int32_t kSmallestChunk = 16;
constexpr int32_t kRowsWorthMeasuring = 8;
// Logits of prompt rows in one step, for those who want them all.
constexpr int64_t kPromptLogitBytes = 16 << 20;
constexpr double kAverageWeight = 0.2;  // of the newest value in moving averages

std::chrono::microseconds Micros(SteadyTime from, SteadyTime to) {
  return std::chrono::duration_cast<std::chrono::microseconds>(to - from);
}

void MoveAverage(double* average, double value) {
  *average = *average == 0.0 ? value : *average + kAverageWeight * (value - *average);
}

absl::Status CheckRange(const char* field, uint64_t value, uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return InvalidArgument("{}: {} is not in [{}, {}]", field, static_cast<int64_t>(value), low,
                         high);
}

}  // namespace

absl::Status EngineOptions::Validate() const {
  auto wide = [](int32_t v) { return static_cast<uint64_t>(static_cast<int64_t>(v)); };
  WEFT_RETURN_IF_ERROR(CheckRange("max_sequences", wide(max_sequences), 1, 4096));
  WEFT_RETURN_IF_ERROR(CheckRange("token_budget", wide(token_budget), wide(max_sequences), 65536));
  WEFT_RETURN_IF_ERROR(CheckRange("max_waiting", max_waiting, 1, 1048576));
  WEFT_RETURN_IF_ERROR(CheckRange("max_waiting_per_key", max_waiting_per_key, 1, 1048576));
  WEFT_RETURN_IF_ERROR(CheckRange("kv_blocks", wide(kv_blocks), 0, 4194304));
  if (target_step.count() < 0 || target_step.count() > 60000) {
    return InvalidArgument("target_step_ms: {} is not in [0, 60000]", target_step.count());
  }
  return absl::OkStatus();
}

class Engine::Impl {
 public:
  Impl(std::unique_ptr<ModelRunner> model, const EngineOptions& options, int32_t kv_blocks,
       SequenceLimits limits, const Clock& clock)
      : options_(options),
        limits_(std::move(limits)),
        clock_(clock),
        model_(std::move(model)),
        inbox_(options.max_waiting),
        queue_({.max_items = options.max_waiting + static_cast<size_t>(options.max_sequences),
                .max_items_per_key = options.max_waiting_per_key}),
        cache_({.blocks = kv_blocks, .prefix_cache = options.prefix_cache},
               std::make_shared<kv::PrefixHasher>(model_->numerics_class())),
        planner_({.max_sequences = options.max_sequences,
                  .token_budget = options.token_budget,
                  .block_tokens = kBlockTokens,
                  .total_blocks = kv_blocks}),
        sampler_(limits_.vocab_size) {
    stats_.kv_blocks_total = stats_.kv_blocks_free = static_cast<uint32_t>(kv_blocks);
    published_ = stats_;
  }

  void Step(StepOutput* out);

  const EngineOptions options_;
  const SequenceLimits limits_;
  const Clock& clock_;
  const std::unique_ptr<ModelRunner> model_;
  Inbox inbox_;

  bool has_work() const { return !sequences_.empty(); }  // owner thread
  EngineStats stats() const {
    std::lock_guard lock(published_mutex_);
    return published_;
  }
  std::atomic<uint64_t> steps_{0};

 private:
  struct Scheduled {
    Sequence* sequence;
    int32_t rows;
  };

  void Collect(SteadyTime now, StepOutput* out);
  void Accept(Inbox::Arrival arrival, StepOutput* out);
  void Plan();
  void Preempt(Sequence* sequence);
  void Admit(SteadyTime now, StepOutput* out);
  void Run(std::span<const Scheduled> rows, StepOutput* out);
  void Advance(const Scheduled& scheduled, std::span<const float> logits, StepOutput* out);
  void Emit(Sequence* sequence, sampling::Sample sample, StepOutput* out);
  void Finish(Sequence* sequence, FinishReason reason, absl::Status error, StepOutput* out);
  void Publish(SteadyTime begin, StepOutput* out);
  int32_t PrefillCap() const;
  bool Follows(const Sequence& s, int32_t computed) const;
  void ScorePrompt(Sequence* sequence, int32_t position, std::span<const float> logits,
                   StepOutput* out);

  batching::FairQueue queue_;
  kv::KvCache cache_;
  const batching::StepPlanner planner_;
  sampling::Sampler sampler_;
  std::unordered_map<uint64_t, std::unique_ptr<Sequence>> sequences_;
  std::vector<Sequence*> running_;
  uint64_t next_admission_ = 1;

  // Scratch of a step.
  Inbox::Contents inbox_contents_;
  std::vector<batching::RunningView> running_views_;
  std::vector<batching::WaitingView> waiting_views_;
  batching::StepPlan plan_;
  std::vector<Scheduled> scheduled_;
  std::vector<const Sequence*> leaders_;  // in prefill, following nobody
  StepBatch batch_;
  std::vector<float> logits_;

  double ms_per_prefill_row_ = 0.0;  // moving average; 0 = not measured
  EngineStats stats_;
  mutable std::mutex published_mutex_;
  EngineStats published_;
};

void Engine::Impl::Step(StepOutput* out) {
  out->Clear();
  const SteadyTime begin = clock_.Now();
  Collect(begin, out);
  Plan();
  Admit(begin, out);
  if (!scheduled_.empty()) {
    const SteadyTime launch = clock_.Now();
    Run(scheduled_, out);
    const double ms = Millis(clock_.Now() - launch);
    const auto rows = static_cast<int32_t>(out->prefill_rows + out->decode_rows);
    if (out->prefill_rows >= kRowsWorthMeasuring) MoveAverage(&ms_per_prefill_row_, ms / rows);
    MoveAverage(&stats_.step_ms, ms);
    ++stats_.steps;
  }
  Publish(begin, out);
}

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
  leaders_.clear();
  for (Sequence* s : running_) {
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
    running_views_.push_back({.known = s->known(),
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
  WEFT_CHECK(sequences_.empty() || !plan_.running.empty() || !plan_.admitted.empty());

  scheduled_.clear();
  for (const auto& rows : plan_.running) {
    scheduled_.push_back({running_[static_cast<size_t>(rows.index)], rows.rows});
  }
  std::vector<Sequence*> victims;
  for (int32_t index : plan_.preempted) victims.push_back(running_[static_cast<size_t>(index)]);
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
    (s->known() - s->computed == 1 ? out->decode_rows : out->prefill_rows) +=
        static_cast<uint32_t>(scheduled.rows);
  }
}

// ---- Forward and sample. ----

void Engine::Impl::Run(std::span<const Scheduled> rows, StepOutput* out) {
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
      const bool last = position + 1 == s->known() || s->scores_at(position);
      batch_.tokens.push_back(s->tokens[static_cast<size_t>(position)]);
      batch_.positions.push_back(position);
      batch_.cache_slots.push_back(block * kBlockTokens + position % kBlockTokens);
      batch_.wants_logits.push_back(last ? 1 : 0);
      wanted += last ? 1 : 0;
    }
  }
  const auto vocab = static_cast<size_t>(limits_.vocab_size);
  if (logits_.size() < wanted * vocab) logits_.resize(wanted * vocab);
  const absl::Status status = model_->Forward(batch_, std::span(logits_).first(wanted * vocab));
  if (!status.ok()) {
    ++stats_.failures;
    if (rows.size() == 1) {
      return Finish(rows[0].sequence, FinishReason::kError, Annotate(status, "forward"), out);
    }
    // One by one gives the same bits, and only the sequences that fail alone end.
    for (size_t i = 0; i < rows.size(); ++i) Run(rows.subspan(i, 1), out);
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
      if (s->scores_at(position)) ScorePrompt(s, position, next_row(), out);
    }
    Advance(scheduled, end == s->known() ? next_row() : std::span<const float>(), out);
  }
}

// The prompt's rows of a sequence come in order, so its log probabilities do.
void Engine::Impl::ScorePrompt(Sequence* s, int32_t position, std::span<const float> logits,
                               StepOutput* out) {
  const int32_t token = s->tokens[static_cast<size_t>(position) + 1];
  if (out->prompt_rows.empty() || out->prompt_rows.back().id != s->item.id) {
    out->prompt_rows.push_back({.id = s->item.id,
                                .attempt = s->item.attempt,
                                .first_position = static_cast<uint32_t>(position) + 1,
                                .begin = static_cast<uint32_t>(out->prompt_logprobs.size()),
                                .count = 0});
  }
  out->prompt_logprobs.push_back(sampler_.Score(logits, token, s->item.sampling.top_logprobs));
  ++out->prompt_rows.back().count;
  s->prompt_scored = position + 1;
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

void Engine::Impl::Publish(SteadyTime begin, StepOutput* out) {
  out->kv_events = cache_.TakeEvents();
  if (inbox_contents_.snapshot) out->kv_snapshot = cache_.Snapshot();
  out->duration = Micros(begin, clock_.Now());
  stats_.running = static_cast<uint32_t>(running_.size());
  stats_.waiting = static_cast<uint32_t>(queue_.size());
  stats_.kv_blocks_free = static_cast<uint32_t>(cache_.available());
  stats_.kv_blocks_cached = static_cast<uint32_t>(cache_.cached());
  stats_.evictions = cache_.evictions();
  stats_.layer_progress = model_->layer_progress();
  out->step = stats_.steps;
  out->stats = stats_;
  {
    std::lock_guard lock(published_mutex_);
    published_ = stats_;
  }
  steps_.fetch_add(1, std::memory_order_release);
  // Last: whoever sees the engine idle sees everything else of this step too.
  inbox_.Settle(out->finishes, running_.size());
}

// ---- The public face. ----

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(std::unique_ptr<ModelRunner> model,
                                                       const EngineOptions& options,
                                                       const Clock& clock) {
  WEFT_CHECK(model != nullptr);
  WEFT_RETURN_IF_ERROR(options.Validate());
  const ModelConfig& config = model->config();
  if (config.vocab < 1) return InvalidArgument("model: vocabulary of {} tokens", config.vocab);
  if (config.context_length < 2) {
    return InvalidArgument("model: context length of {} tokens", config.context_length);
  }
  int64_t blocks = options.kv_blocks;
  if (blocks == 0) {
    const uint64_t block_bytes = std::max<uint64_t>(model->KvBytesPerBlock(kBlockTokens), 1);
    // More than every sequence at full length needs would never be used.
    const int64_t most =
        int64_t{options.max_sequences} * kv::KvCache::BlocksFor(config.context_length);
    blocks = static_cast<int64_t>(
        std::min<uint64_t>(options.kv_bytes / block_bytes, static_cast<uint64_t>(most)));
    if (blocks < 1) {
      return InvalidArgument("kv_bytes: {} is less than one block of {} tokens ({} bytes)",
                             options.kv_bytes, kBlockTokens, block_bytes);
    }
  }
  constexpr int64_t kMostBlocks = int64_t{INT32_MAX} / kBlockTokens;  // slots are 32-bit
  const auto kv_blocks = static_cast<int32_t>(std::min(blocks, kMostBlocks));
  WEFT_RETURN_IF_ERROR(model->AllocateKv(kv_blocks, kBlockTokens));

  SequenceLimits limits{.vocab_size = config.vocab,
                        .max_context = static_cast<int32_t>(std::min<int64_t>(
                            config.context_length, int64_t{kv_blocks} * kBlockTokens)),
                        .eos_ids = config.eos_ids};
  limits.eos_ids.insert(limits.eos_ids.end(), options.eos_ids.begin(), options.eos_ids.end());
  std::erase_if(limits.eos_ids, [&](int32_t id) { return id < 0 || id >= config.vocab; });
  std::sort(limits.eos_ids.begin(), limits.eos_ids.end());
  limits.eos_ids.erase(std::unique(limits.eos_ids.begin(), limits.eos_ids.end()),
                       limits.eos_ids.end());
  return std::unique_ptr<Engine>(new Engine(
      std::make_unique<Impl>(std::move(model), options, kv_blocks, std::move(limits), clock)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

absl::Status Engine::Submit(WorkItem item) {
  return impl_->inbox_.Submit(std::move(item), impl_->clock_.Now());
}
void Engine::Cancel(uint64_t id) { impl_->inbox_.Cancel({&id, 1}); }
void Engine::Cancel(std::span<const uint64_t> ids) { impl_->inbox_.Cancel(ids); }
void Engine::CancelAll() { impl_->inbox_.CancelAll(); }
void Engine::RefuseNew() { impl_->inbox_.RefuseNew(); }
void Engine::RequestKvSnapshot() { impl_->inbox_.RequestSnapshot(); }
void Engine::Wake() { impl_->inbox_.Wake(); }

EngineStats Engine::stats() const {
  EngineStats stats = impl_->stats();
  stats.layer_progress = impl_->model_->layer_progress();
  return stats;
}
EngineProgress Engine::progress() const {
  return {.steps = impl_->steps_.load(std::memory_order_acquire),
          .layers = impl_->model_->layer_progress(),
          .busy = !impl_->inbox_.idle()};
}
bool Engine::idle() const { return impl_->inbox_.idle(); }
const ModelRunner& Engine::model() const { return *impl_->model_; }
const EngineOptions& Engine::options() const { return impl_->options_; }
int32_t Engine::max_context_tokens() const { return impl_->limits_.max_context; }

void Engine::Step(StepOutput* out) { impl_->Step(out); }
StepOutput Engine::Step() {
  StepOutput out;
  impl_->Step(&out);
  return out;
}
bool Engine::WaitForWork(std::chrono::nanoseconds timeout) {
  return impl_->inbox_.Wait(timeout, impl_->has_work());
}

}  // namespace weft::engine
