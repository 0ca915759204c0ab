#include "services/scheduler/router.h"

#include <algorithm>
#include <tuple>

namespace weft::scheduler {
namespace {

bool Fits(const RouteCandidate& c, const RouteNeed& need) {
  if (!c.usable || c.in_flight >= c.max_in_flight) return false;
  return c.in_flight == 0 || c.blocks_in_flight + need.blocks <= c.max_blocks;
}

auto Rank(const RouteCandidate& c, const RouteNeed& need) {
  const uint64_t prefill = need.prefill_tokens - std::min(need.prefill_tokens, c.cached_tokens);
  const uint64_t cost =
      prefill + c.pending_prefill + kRunningCost * (uint64_t{c.in_flight} + c.waiting);
  return std::make_tuple(!c.same_numerics, cost, c.in_flight, c.link);
}

}  // namespace

std::optional<size_t> ChooseWorker(std::span<const RouteCandidate> candidates,
                                   const RouteNeed& need) {
  std::optional<size_t> best;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!Fits(candidates[i], need)) continue;
    if (!best || Rank(candidates[i], need) < Rank(candidates[*best], need)) best = i;
  }
  return best;
}

}  // namespace weft::scheduler
