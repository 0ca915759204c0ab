// Decides what one engine step runs. A const function object: a snapshot in, a plan out; no clock,
// no I/O, no memory of earlier steps.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <span>
#include <vector>

namespace weft::batching {

struct PlannerLimits {
  int32_t max_sequences = 64;  // running at once
  int32_t token_budget = 512;  // rows of one step; at least max_sequences
  int32_t block_tokens = 64;
  int32_t total_blocks = 0;  // of the KV cache

  absl::Status Validate() const;
};

// A sequence that holds KV blocks. `known` tokens are its prompt and output so far, `computed` of
// them have keys and values; the step that computes the last known one yields a new token.
struct RunningView {
  int32_t known = 0;
  int32_t computed = 0;    // < known
  int32_t blocks = 0;      // held
  int32_t releasable = 0;  // of those, held by nobody else
  int32_t priority = 0;
  uint64_t admitted = 0;  // goes up with every admission
  // In prefill: a sequence admitted earlier, that does not follow itself, is computing what this
  // one would compute next, and will share it. It gets no rows.
  bool follows = false;
  bool all_logits = false;  // in prefill: its rows count against logit_rows_cap
};

// A sequence that could start, in the order of service.
struct WaitingView {
  int32_t known = 0;
  int32_t cached = 0;         // leading tokens found in the prefix cache, < known
  int32_t pinned_blocks = 0;  // of the cached blocks: held by running sequences
  // As RunningView; the sequence that is followed runs in prefill or waits before this one.
  bool follows = false;
  bool all_logits = false;
};

struct StepSnapshot {
  std::span<const RunningView> running;
  std::span<const WaitingView> waiting;
  int32_t available_blocks = 0;  // free or evictable
  int32_t prefill_cap = 0;       // prefill rows that fit into a step's time, by measurement; >= 1
  int32_t logit_rows_cap = INT32_MAX;  // rows of a step whose logits are all wanted; >= 1
};

struct StepPlan {
  struct Rows {
    int32_t index = 0;  // into StepSnapshot::running or ::waiting
    int32_t rows = 0;   // tokens to compute, >= 1; 0 where a follower is admitted
  };
  std::vector<int32_t> preempted;  // indexes into running: blocks are taken, recompute later
  std::vector<Rows> running;       // decode rows first
  std::vector<Rows> admitted;      // a prefix of waiting: indexes 0, 1, …
  void Clear();
};

// The rules, in order:
//  1. Every decoding sequence gets its row. Where blocks are short, the sequence of the lowest
//     priority, among those the one admitted last, is preempted.
//  2. Sequences in prefill get chunks, first admitted first, within the token budget and the
//     prefill cap. A chunk shrinks to the blocks that are there. Followers get none.
//  3. Waiting sequences are admitted in the given order as long as a slot, rows and the blocks
//     for *all* their tokens are there, beyond what running prefills still need and a reserve
//     for decoding. The first that does not fit ends it: nobody overtakes, so nobody starves.
//  Nothing is admitted in a step that preempts. As long as every sequence fits into the cache
//  alone, a snapshot with any sequence in it gets a plan that is not empty.
class StepPlanner {
 public:
  explicit StepPlanner(const PlannerLimits& limits);
  void operator()(const StepSnapshot& snapshot, StepPlan* plan) const;
  const PlannerLimits& limits() const { return limits_; }

 private:
  int32_t BlocksFor(int32_t tokens) const {
    return (tokens + limits_.block_tokens - 1) / limits_.block_tokens;
  }
  const PlannerLimits limits_;
};

}  // namespace weft::batching
