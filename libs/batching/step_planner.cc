#include "libs/batching/step_planner.h"

#include <algorithm>
#include <numeric>

#include "libs/base/status.h"

namespace weft::batching {
namespace {

// Chunks that do not end a prompt are cut to this multiple: kernels work on row tiles.
constexpr int32_t kChunkMultiple = 16;

int32_t CutChunk(int32_t remaining, int32_t room) {
  if (room >= remaining) return remaining;
  return room >= kChunkMultiple ? room - room % kChunkMultiple : room;
}

}  // namespace

absl::Status PlannerLimits::Validate() const {
  if (max_sequences < 1) return InvalidArgument("max_sequences: must be at least 1");
  if (token_budget < max_sequences) {
    return InvalidArgument(
        "token_budget: {} is less than max_sequences ({}): decoding sequences "
        "would have to skip steps",
        token_budget, max_sequences);
  }
  if (block_tokens < 1) return InvalidArgument("block_tokens: must be at least 1");
  if (total_blocks < 1) return InvalidArgument("total_blocks: must be at least 1");
  return absl::OkStatus();
}

void StepPlan::Clear() {
  preempted.clear();
  running.clear();
  admitted.clear();
}

StepPlanner::StepPlanner(const PlannerLimits& limits) : limits_(limits) {
  WEFT_CHECK(limits.Validate().ok());
}

void StepPlanner::operator()(const StepSnapshot& snapshot, StepPlan* plan) const {
  plan->Clear();
  const std::span<const RunningView> running = snapshot.running;
  auto view = [&](int32_t i) -> const RunningView& { return running[static_cast<size_t>(i)]; };

  // Who keeps its blocks longest: higher priority, then earlier admission.
  std::vector<int32_t> rank(running.size());
  std::iota(rank.begin(), rank.end(), 0);
  std::sort(rank.begin(), rank.end(), [&](int32_t a, int32_t b) {
    if (view(a).priority != view(b).priority) return view(a).priority > view(b).priority;
    return view(a).admitted < view(b).admitted;
  });
  std::vector<bool> gone(running.size(), false);
  int32_t available = snapshot.available_blocks;
  auto preempt_last = [&]() -> int32_t {
    while (gone[static_cast<size_t>(rank.back())]) rank.pop_back();
    const int32_t victim = rank.back();
    rank.pop_back();
    gone[static_cast<size_t>(victim)] = true;
    available += view(victim).releasable;
    plan->preempted.push_back(victim);
    return victim;
  };

  // 1. Decode. `rank` shrinks from its end while this walks from its front.
  int32_t budget = limits_.token_budget;
  for (size_t at = 0; at < rank.size(); ++at) {
    const int32_t i = rank[at];
    if (view(i).known - view(i).computed != 1) continue;
    const int32_t need = std::max(0, BlocksFor(view(i).known) - view(i).blocks);
    bool kept = true;
    while (need > available && kept) kept = preempt_last() != i;
    if (!kept) break;  // it was the last in rank itself
    available -= need;
    --budget;
    plan->running.push_back({i, 1});
  }

  // 2. Prefill, first admitted first whatever the priority: a started prompt always ends.
  std::vector<int32_t> prefill;
  for (int32_t i : rank) {
    if (view(i).known - view(i).computed > 1) prefill.push_back(i);
  }
  std::sort(prefill.begin(), prefill.end(),
            [&](int32_t a, int32_t b) { return view(a).admitted < view(b).admitted; });
  int32_t room = std::min(budget, std::max(snapshot.prefill_cap, 1));
  int32_t logit_room = std::max(snapshot.logit_rows_cap, 1);
  int32_t reserved = 0;  // blocks that running prefills will still ask for
  while (plan->running.empty() && !prefill.empty()) {
    // Nothing decodes and nothing fits: make room for the one admitted first.
    const RunningView& first = view(prefill.front());
    if (first.blocks * limits_.block_tokens > first.computed || available > 0) break;
    const int32_t victim =
        rank.back() == prefill.front() && rank.size() > 1 ? rank[rank.size() - 2] : rank.back();
    std::erase(rank, victim);
    std::erase(prefill, victim);
    gone[static_cast<size_t>(victim)] = true;
    available += view(victim).releasable;
    plan->preempted.push_back(victim);
  }
  for (int32_t i : prefill) {
    const RunningView& v = view(i);
    const int32_t remaining = v.known - v.computed;
    const int32_t fits = (v.blocks + available) * limits_.block_tokens - v.computed;
    const int32_t most = std::min({room, fits, v.all_logits ? logit_room : room});
    const int32_t rows = v.follows ? 0 : CutChunk(remaining, most);
    int32_t held = v.blocks;
    if (rows > 0) {
      if (v.all_logits) logit_room -= rows;
      const int32_t need = std::max(0, BlocksFor(v.computed + rows) - v.blocks);
      available -= need;
      held += need;
      room -= rows;
      plan->running.push_back({i, rows});
    }
    reserved += std::max(0, BlocksFor(v.known + 1) - held);
  }

  // 3. Admission.
  if (!plan->preempted.empty()) return;
  auto slots = limits_.max_sequences - static_cast<int32_t>(running.size());
  for (size_t i = 0; i < snapshot.waiting.size() && slots > 0 && room > 0; ++i) {
    const WaitingView& w = snapshot.waiting[i];
    const bool alone = running.empty() && plan->admitted.empty();
    const int32_t reserve = alone ? 0 : reserved + (limits_.total_blocks + 99) / 100;
    // An exact fit is enough for a sequence alone; beside others it needs room for a next token.
    const int32_t all = BlocksFor(alone ? w.known : w.known + 1) - w.pinned_blocks;
    if (all + reserve > available) break;
    if (w.all_logits && logit_room < 1) break;
    const int32_t rows =
        w.follows ? 0
                  : CutChunk(w.known - w.cached, w.all_logits ? std::min(room, logit_room) : room);
    if (w.all_logits) logit_room -= rows;
    const int32_t now = BlocksFor(w.cached + rows) - w.pinned_blocks;
    available -= now;
    reserved += all - now;
    room -= rows;
    --slots;
    plan->admitted.push_back({static_cast<int32_t>(i), rows});
  }
}

}  // namespace weft::batching
