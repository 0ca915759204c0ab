// The engine's insides, which its sources share. A step: collect, plan and admit (engine_plan.cc),
// run (engine_run.cc), publish (engine.cc). Where the model has DeviceSteps, running is launching
// this step and landing the one before (engine_ahead.cc).
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libs/batching/fair_queue.h"
#include "libs/batching/step_planner.h"
#include "libs/engine/choices.h"
#include "libs/engine/engine.h"
#include "libs/engine/inbox.h"
#include "libs/engine/sequence.h"
#include "libs/kv/kv_cache.h"
#include "libs/model/device_steps.h"
#include "libs/sampling/sampler.h"

namespace weft::engine {

inline std::chrono::microseconds Micros(SteadyTime from, SteadyTime to) {
  return std::chrono::duration_cast<std::chrono::microseconds>(to - from);
}

// Step is its owner's; stats, inbox_ and what is const are for all threads.
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
        sampler_(limits_.vocab_size),
        steps_ahead_(model_->device_steps()),
        choices_(limits_) {
    stats_.kv_blocks_total = stats_.kv_blocks_free = static_cast<uint32_t>(kv_blocks);
    published_ = stats_;
  }

  ~Impl();

  void Step(StepOutput* out);

  const EngineOptions options_;
  const SequenceLimits limits_;
  const Clock& clock_;
  const std::unique_ptr<ModelRunner> model_;
  Inbox inbox_;

  bool has_work() const { return !sequences_.empty() || !flights_.empty(); }  // owner thread
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
  // An answer of a step on its way, and whom it concerns if that sequence is still here.
  struct Expected {
    uint64_t id = 0;
    uint64_t serial = 0;
    int32_t score = -1;  // of a prompt's row: its position; -1: the next token
  };
  struct Flight {
    std::vector<Expected> answers = {};
    SteadyTime launched = {};
    int32_t rows = 0;
    bool prefill = false;
    bool followed = false;  // another step was on its way when it was launched
  };

  void Collect(SteadyTime now, StepOutput* out);
  void Accept(Inbox::Arrival arrival, StepOutput* out);
  void Plan();
  void Preempt(Sequence* sequence);
  void Admit(SteadyTime now, StepOutput* out);
  void Run(std::span<const Scheduled> rows, StepOutput* out);
  // Fills batch_; how many rows want logits.
  size_t Build(std::span<const Scheduled> rows);
  void StepAhead(StepOutput* out);
  void Launch(StepOutput* out);
  void Land(StepOutput* out);
  static sampling::TokenLogprob LogprobOf(const StepAnswers& answers, size_t index, int32_t token,
                                          uint32_t top);
  // What is on its way is the sequence's last token.
  bool Ends(const Sequence& s) const;
  void Advance(const Scheduled& scheduled, std::span<const float> logits, StepOutput* out);
  void Emit(Sequence* sequence, sampling::Sample sample, StepOutput* out);
  void Finish(Sequence* sequence, FinishReason reason, absl::Status error, StepOutput* out);
  void Publish(SteadyTime begin, StepOutput* out);
  // Prefill rows of a step whose time says something about a row's.
  static constexpr uint32_t kRowsWorthMeasuring = 8;
  void CountStep(double ms, int32_t rows, bool prefill);
  int32_t PrefillCap() const;
  bool Follows(const Sequence& s, int32_t computed) const;
  void ReportPrompt(Sequence* sequence, int32_t position, sampling::TokenLogprob logprob,
                    StepOutput* out);

  batching::FairQueue queue_;
  kv::KvCache cache_;
  const batching::StepPlanner planner_;
  sampling::Sampler sampler_;
  std::unordered_map<uint64_t, std::unique_ptr<Sequence>> sequences_;
  std::vector<Sequence*> running_;
  DeviceSteps* const steps_ahead_;  // null: none
  ChoiceList choices_;
  std::deque<Flight> flights_;  // on their way, oldest first
  SteadyTime landed_;           // when the last one was
  uint64_t next_serial_ = 1;
  uint64_t next_admission_ = 1;

  // Scratch of a step.
  Inbox::Contents inbox_contents_;
  std::vector<Sequence*> planned_;  // parallel with running_views_
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

}  // namespace weft::engine
