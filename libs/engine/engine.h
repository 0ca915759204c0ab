// Continuous batching: binds a model, the paged KV cache, the step planner and the sampler.
//
//   any thread    Submit, Cancel, RequestKvSnapshot ──► inbox (bounded)
//   owner thread  Step() = collect the inbox → plan → forward → sample → StepOutput
//
// The owner thread owns all state; other threads reach the inbox and the published counters only.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "libs/engine/types.h"
#include "libs/model/model_runner.h"

namespace weft::engine {

struct EngineOptions {
  int32_t max_sequences = 64;  // running at once [1, 4096]
  int32_t token_budget = 512;  // rows of one step, decode and prefill together [1, 65536]
  size_t max_waiting = 1024;   // submitted and not yet running [1, 1048576]
  size_t max_waiting_per_key = 1024;
  uint64_t kv_bytes = 512ULL << 20;  // memory for the KV cache; used where kv_blocks is 0
  int32_t kv_blocks = 0;             // [0, 4194304]
  // Where it is not 0: the KV cache gets what weights and steps leave of this part of a device's
  // memory, in place of kv_bytes. [0, 1]
  double kv_memory_fraction = 0;
  bool prefix_cache = true;
  // A step with prefill should take about this long: chunks are cut by measured speed, so that
  // running sequences keep getting tokens. 0 = only the token budget counts.
  std::chrono::milliseconds target_step{250};

  // Tokens that end a generation besides those of the model's config (the tokenizer knows more).
  std::vector<int32_t> eos_ids = {};

  absl::Status Validate() const;  // names the field and its range
};

// What a watchdog looks at. `steps` and `layers` only go up; when neither moves while `busy`,
// the engine hangs.
struct EngineProgress {
  uint64_t steps = 0;
  uint64_t layers = 0;
  bool busy = false;
};

class Engine {
 public:
  // Allocates the KV cache. The clock must outlive the engine.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(std::unique_ptr<ModelRunner> model,
                                                        const EngineOptions& options,
                                                        const Clock& clock = Clock::Real());
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // ---- Any thread, never blocks on the model. ----

  // OK: exactly one StepFinish for this id follows (an invalid item finishes with kError and the
  // field's name, in the next step). Not OK: nothing follows. RESOURCE_EXHAUSTED when
  // `max_waiting` are queued, ALREADY_EXISTS, UNAVAILABLE after RefuseNew().
  absl::Status Submit(WorkItem item);

  // Takes effect within two steps: a kCancelled finish, blocks freed. Unknown ids are ignored.
  void Cancel(uint64_t id);
  void Cancel(std::span<const uint64_t> ids);
  void CancelAll();

  // Submit refuses from now on; what was submitted goes on.
  void RefuseNew();

  // The next step's output holds a snapshot of all prefix keys (for a new session).
  void RequestKvSnapshot();

  // Makes a WaitForWork() that blocks, or the next one, return.
  void Wake();

  EngineStats stats() const;  // as of the last step
  EngineProgress progress() const;
  bool idle() const;                 // nothing submitted is unfinished
  const ModelRunner& model() const;  // its thread-safe methods only
  const EngineOptions& options() const;
  // Prompt plus output can be at most this long: the model's context or the whole KV cache.
  int32_t max_context_tokens() const;

  // ---- The owner thread. ----

  // One step. Cheap when there is nothing to do. Never fails: errors belong to sequences.
  void Step(StepOutput* out);
  StepOutput Step();

  // Blocks until there is something to do for Step(), Wake(), or the time is over.
  // True when there is something to do.
  bool WaitForWork(std::chrono::nanoseconds timeout);

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace weft::engine
