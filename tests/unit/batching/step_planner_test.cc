#include "libs/batching/step_planner.h"

#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft::batching {
namespace {

using Rows = std::vector<std::pair<int32_t, int32_t>>;

Rows Of(const std::vector<StepPlan::Rows>& rows) {
  Rows out;
  for (const auto& r : rows) out.emplace_back(r.index, r.rows);
  return out;
}

struct Scene {
  PlannerLimits limits{.max_sequences = 4, .token_budget = 100, .total_blocks = 100};
  std::vector<RunningView> running;
  std::vector<WaitingView> waiting;
  int32_t available = 100;
  int32_t cap = 1000;

  StepPlan Plan() const {
    StepPlan plan;
    StepPlanner planner(limits);
    planner(
        {.running = running, .waiting = waiting, .available_blocks = available, .prefill_cap = cap},
        &plan);
    return plan;
  }
};

RunningView Decode(int32_t known, int32_t blocks, uint64_t admitted, int32_t priority = 0) {
  return {.known = known,
          .computed = known - 1,
          .blocks = blocks,
          .releasable = blocks,
          .priority = priority,
          .admitted = admitted};
}

RunningView Prefill(int32_t known, int32_t computed, uint64_t admitted) {
  const int32_t blocks = (computed + 63) / 64;
  return {.known = known,
          .computed = computed,
          .blocks = blocks,
          .releasable = blocks,
          .admitted = admitted};
}

TEST_CASE("StepPlanner puts decode rows before prefill chunks and fills the budget", "[batching]") {
  Scene s;
  s.running = {Prefill(500, 64, 1), Decode(70, 2, 2), Decode(10, 1, 3)};
  const StepPlan plan = s.Plan();
  CHECK(Of(plan.running) == Rows{{1, 1}, {2, 1}, {0, 96}});  // 98 cut to a multiple of 16
  CHECK(plan.preempted.empty());
}

TEST_CASE("StepPlanner caps prefill by measured time but never below one row", "[batching]") {
  Scene s;
  s.running = {Prefill(500, 0, 1), Decode(70, 2, 2)};
  s.cap = 32;
  CHECK(Of(s.Plan().running) == Rows{{1, 1}, {0, 32}});
  s.cap = 0;
  CHECK(Of(s.Plan().running) == Rows{{1, 1}, {0, 1}});
}

TEST_CASE("StepPlanner finishes the prefill admitted first before the next", "[batching]") {
  Scene s;
  s.running = {Prefill(200, 0, 2), Prefill(300, 230, 1)};
  CHECK(Of(s.Plan().running) == Rows{{1, 70}, {0, 16}});
}

TEST_CASE("StepPlanner admits in order while slots, rows and blocks last", "[batching]") {
  Scene s;
  s.running = {Decode(70, 2, 1)};
  s.waiting = {{.known = 40}, {.known = 30}, {.known = 200}, {.known = 5}};
  const StepPlan plan = s.Plan();
  CHECK(Of(plan.admitted) == Rows{{0, 40}, {1, 30}, {2, 16}});  // 29 left, cut to 16
}

TEST_CASE("StepPlanner admits no more sequences than may run", "[batching]") {
  Scene s;
  s.limits.max_sequences = 2;
  s.running = {Decode(70, 2, 1)};
  s.waiting = {{.known = 4}, {.known = 4}};
  CHECK(s.Plan().admitted.size() == 1);
  s.running.push_back(Decode(70, 2, 2));
  CHECK(s.Plan().admitted.empty());
}

TEST_CASE("StepPlanner lets nobody overtake a sequence that does not fit yet", "[batching]") {
  Scene s;
  s.running = {Decode(70, 2, 1)};
  s.available = 5;
  s.waiting = {{.known = 600}, {.known = 4}};
  CHECK(s.Plan().admitted.empty());
}

TEST_CASE("StepPlanner counts blocks that running prefills will still need", "[batching]") {
  Scene s;
  s.running = {Prefill(600, 64, 1)};  // holds 1 of 10 blocks; takes 2 now, 7 later
  s.waiting = {{.known = 100}};
  s.limits.token_budget = 112;
  s.available = 9 + 2;
  CHECK(s.Plan().admitted.empty());
  s.available = 9 + 2 + 1;
  s.running[0].computed = 599;  // now it decodes: one row, and rows are left for the other
  s.running[0].blocks = 10;
  CHECK(s.Plan().admitted.size() == 1);
}

TEST_CASE("StepPlanner takes blocks shared with running sequences as paid", "[batching]") {
  Scene s;
  s.running = {Decode(300, 5, 1)};
  s.available = 3;
  s.waiting = {{.known = 300, .cached = 256, .pinned_blocks = 0}};
  CHECK(s.Plan().admitted.empty());
  s.waiting[0].pinned_blocks = 4;
  CHECK(Of(s.Plan().admitted) == Rows{{0, 44}});
}

TEST_CASE("StepPlanner admits a sequence alone that fills the whole cache", "[batching]") {
  Scene s;
  s.limits.total_blocks = 4;
  s.available = 4;
  s.waiting = {{.known = 255}};
  CHECK(Of(s.Plan().admitted) == Rows{{0, 96}});
}

TEST_CASE("StepPlanner preempts the lowest priority, of these the latest", "[batching]") {
  Scene s;
  s.available = 0;
  s.running = {Decode(65, 1, 1), Decode(30, 1, 2), Decode(30, 1, 3), Decode(30, 1, 4, 9)};
  s.waiting = {{.known = 4}};
  const StepPlan plan = s.Plan();
  CHECK(plan.preempted == std::vector<int32_t>{2});
  CHECK(Of(plan.running) == Rows{{3, 1}, {0, 1}, {1, 1}});
  CHECK(plan.admitted.empty());
}

TEST_CASE("StepPlanner admits nothing in a step that preempts", "[batching]") {
  Scene s;
  s.available = 0;
  s.running = {Decode(65, 1, 1), Decode(640, 10, 2)};
  s.waiting = {{.known = 4}};  // would fit into what the preempted one gives back
  const StepPlan plan = s.Plan();
  CHECK(plan.preempted == std::vector<int32_t>{1});
  CHECK(plan.admitted.empty());
}

TEST_CASE("StepPlanner lets the last in rank yield itself", "[batching]") {
  Scene s;
  s.available = 0;
  s.running = {Decode(30, 1, 1), Decode(65, 1, 2)};
  const StepPlan plan = s.Plan();
  CHECK(plan.preempted == std::vector<int32_t>{1});
  CHECK(Of(plan.running) == Rows{{0, 1}});
}

TEST_CASE("StepPlanner shrinks a chunk to the blocks that are there", "[batching]") {
  Scene s;
  s.available = 1;
  s.running = {Prefill(500, 32, 1), Decode(30, 1, 2)};
  CHECK(Of(s.Plan().running) == Rows{{1, 1}, {0, 96}});  // 32 in its block, 64 in the free one
  s.available = 0;
  CHECK(Of(s.Plan().running) == Rows{{1, 1}, {0, 32}});
}

TEST_CASE("StepPlanner frees blocks when two prefills wait for each other", "[batching]") {
  Scene s;
  s.available = 0;
  s.running = {Prefill(500, 128, 2), Prefill(500, 128, 1)};
  const StepPlan plan = s.Plan();
  CHECK(plan.preempted == std::vector<int32_t>{0});
  CHECK(Of(plan.running) == Rows{{1, 96}});
}

TEST_CASE("StepPlanner limits are checked by name", "[batching]") {
  auto message = [](PlannerLimits limits) { return std::string(Message(limits.Validate())); };
  CHECK(message({.max_sequences = 0}).starts_with("max_sequences:"));
  CHECK(message({.max_sequences = 8, .token_budget = 7}).starts_with("token_budget:"));
  CHECK(message({.block_tokens = 0}).starts_with("block_tokens:"));
  CHECK(message({.total_blocks = 0}).starts_with("total_blocks:"));
}

}  // namespace
}  // namespace weft::batching
