#include "libs/engine/engine.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "libs/engine/engine_impl.h"

namespace weft::engine {
namespace {

static_assert(kv::kBlockTokens == kBlockTokens);

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
  if (!(kv_memory_fraction >= 0 && kv_memory_fraction <= 1)) {
    return InvalidArgument("kv_memory_fraction: {} is not in [0, 1]", kv_memory_fraction);
  }
  if (target_step.count() < 0 || target_step.count() > 60000) {
    return InvalidArgument("target_step_ms: {} is not in [0, 60000]", target_step.count());
  }
  return absl::OkStatus();
}

void Engine::Impl::Step(StepOutput* out) {
  out->Clear();
  const SteadyTime begin = clock_.Now();
  Collect(begin, out);
  Plan();
  Admit(begin, out);
  if (steps_ahead_ != nullptr) {
    StepAhead(out);
  } else if (!scheduled_.empty()) {
    const SteadyTime launch = clock_.Now();
    Run(scheduled_, out);
    const double ms = Millis(clock_.Now() - launch);
    CountStep(ms, static_cast<int32_t>(out->prefill_rows + out->decode_rows),
              out->prefill_rows >= kRowsWorthMeasuring);
  }
  Publish(begin, out);
}

void Engine::Impl::CountStep(double ms, int32_t rows, bool prefill) {
  const auto move = [](double* average, double value) {
    constexpr double kNewest = 0.2;
    *average = *average == 0.0 ? value : *average + kNewest * (value - *average);
  };
  if (prefill) move(&ms_per_prefill_row_, ms / rows);
  move(&stats_.step_ms, ms);
  ++stats_.steps;
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
    uint64_t fitting = options.kv_bytes / block_bytes;
    if (options.kv_memory_fraction > 0) {
      WEFT_ASSIGN_OR_RETURN(fitting,
                            model->FittingBlocks(options.kv_memory_fraction, kBlockTokens));
    }
    blocks = static_cast<int64_t>(std::min<uint64_t>(fitting, static_cast<uint64_t>(most)));
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
