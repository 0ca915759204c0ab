// Which worker runs a sequence: a pure function of a snapshot.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace weft::scheduler {

// One worker that serves the model.
struct RouteCandidate {
  uint64_t link = 0;
  bool usable = false;         // connected, not draining, not kept free for a suspect
  bool same_numerics = true;   // as the attempt before (true when there was none)
  uint32_t in_flight = 0;      // sequences of this scheduler there
  uint32_t max_in_flight = 0;  // its credit
  uint64_t blocks_in_flight = 0;
  uint64_t max_blocks = 0;
  uint32_t waiting = 0;          // in the worker's own queue, of all schedulers
  uint64_t pending_prefill = 0;  // tokens sent there whose prefill has not ended
  uint64_t cached_tokens = 0;    // of this prompt, in its prefix cache
};

struct RouteNeed {
  uint64_t prefill_tokens = 0;  // prompt and tokens so far
  uint64_t blocks = 0;
};

// The candidate with the least work before the first token: tokens to prefill (without those that
// are cached there) plus what waits there already, plus a charge for each running sequence, which
// slows the step. A worker of the same numerics class goes first whatever its load; a worker with
// nothing in flight takes what is larger than its block credit (the engine decides then). Ties go
// to the fewest in flight, then to the lowest link. nullopt: wait.
std::optional<size_t> ChooseWorker(std::span<const RouteCandidate> candidates,
                                   const RouteNeed& need);

// The charge of a running sequence, in prefill tokens.
inline constexpr uint64_t kRunningCost = 16;

}  // namespace weft::scheduler
