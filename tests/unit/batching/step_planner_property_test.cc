// A world of blocks and sequences that does what the planner says, and checks that it may.
#include <algorithm>
#include <deque>
#include <random>

#include "libs/batching/step_planner.h"
#include "tests/support/catch.h"

namespace weft::batching {
namespace {

struct Simulated {
  int id = 0;
  int32_t known = 0;
  int32_t computed = 0;
  int32_t blocks = 0;
  int32_t end = 0;  // known tokens at which it is over
  int32_t priority = 0;
  uint64_t admitted = 0;
  bool all_logits = false;
};

constexpr int32_t kBlock = 64;
int32_t BlocksFor(int32_t tokens) { return (tokens + kBlock - 1) / kBlock; }

TEST_CASE("StepPlanner keeps every bound and brings every sequence to its end", "[batching]") {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    INFO("seed " << seed);
    std::mt19937 random(seed);
    auto between = [&](int a, int b) {
      return a + static_cast<int>(random() % static_cast<unsigned>(b - a + 1));
    };
    PlannerLimits limits;
    limits.max_sequences = between(1, 9);
    limits.token_budget = limits.max_sequences + between(0, 200);
    limits.total_blocks = between(2, 40);
    const StepPlanner planner(limits);
    const int32_t longest = limits.total_blocks * kBlock;

    std::deque<Simulated> waiting;
    for (int i = 0; i < 40; ++i) {
      Simulated s;
      s.id = i;
      s.known = between(1, std::min(longest - 1, 700));
      s.end = std::min(longest, s.known + between(1, 200));
      s.priority = between(0, 2);
      s.all_logits = between(0, 5) == 0;
      waiting.push_back(s);
    }
    std::vector<Simulated> running;
    int32_t free_blocks = limits.total_blocks;
    uint64_t admissions = 0;
    int steps = 0;
    while (!waiting.empty() || !running.empty()) {
      REQUIRE(++steps < 200000);
      std::vector<RunningView> running_views;
      bool has_leader = false;
      // Anybody in prefill may follow one that came before and follows nobody.
      const auto follows = [&](const Simulated& s) {
        if (s.known - s.computed <= 1) return false;
        if (has_leader && between(0, 2) == 0) return true;
        has_leader = true;
        return false;
      };
      for (const Simulated& s : running) {
        running_views.push_back({.known = s.known,
                                 .computed = s.computed,
                                 .blocks = s.blocks,
                                 .releasable = s.blocks,
                                 .priority = s.priority,
                                 .admitted = s.admitted,
                                 .follows = follows(s),
                                 .all_logits = s.all_logits});
      }
      std::vector<WaitingView> waiting_views;
      for (size_t i = 0; i < std::min<size_t>(waiting.size(), 5); ++i) {
        waiting_views.push_back({.known = waiting[i].known,
                                 .follows = follows(waiting[i]),
                                 .all_logits = waiting[i].all_logits});
      }
      const int32_t logit_cap = between(1, 100);
      const int32_t cap = between(1, 300);
      StepPlan plan;
      planner({.running = running_views,
               .waiting = waiting_views,
               .available_blocks = free_blocks,
               .prefill_cap = cap,
               .logit_rows_cap = logit_cap},
              &plan);

      REQUIRE((!plan.running.empty() || !plan.admitted.empty()));
      std::vector<bool> gone(running.size(), false);
      for (int32_t index : plan.preempted) {
        const auto i = static_cast<size_t>(index);
        REQUIRE_FALSE(gone[i]);
        gone[i] = true;
        free_blocks += running[i].blocks;
      }
      // Whoever was preempted ranks below everybody who decodes on.
      for (const auto& r : plan.running) {
        const Simulated& kept = running[static_cast<size_t>(r.index)];
        if (kept.known - kept.computed != 1) continue;
        for (int32_t index : plan.preempted) {
          const Simulated& lost = running[static_cast<size_t>(index)];
          REQUIRE((lost.priority < kept.priority ||
                   (lost.priority == kept.priority && lost.admitted > kept.admitted)));
        }
      }
      int32_t total = 0;
      int32_t logit_rows = 0;
      int32_t prefill = 0;
      std::vector<bool> planned(running.size(), false);
      auto advance = [&](Simulated& s, int32_t rows) {
        REQUIRE(rows >= 1);
        REQUIRE(rows <= s.known - s.computed);
        total += rows;
        if (s.known - s.computed > 1) prefill += rows;
        if (s.all_logits && s.known - s.computed > 1) logit_rows += rows;
        s.computed += rows;
        const int32_t need = std::max(0, BlocksFor(s.computed) - s.blocks);
        free_blocks -= need;
        s.blocks += need;
        REQUIRE(free_blocks >= 0);
        if (s.computed == s.known) ++s.known;
      };
      for (const auto& r : plan.running) {
        const auto i = static_cast<size_t>(r.index);
        REQUIRE_FALSE(gone[i]);
        REQUIRE_FALSE(planned[i]);
        planned[i] = true;
        REQUIRE_FALSE(running_views[i].follows);
        advance(running[i], r.rows);
      }
      for (size_t i = 0; i < running.size(); ++i) {
        const RunningView& v = running_views[i];
        if (!gone[i] && v.known - v.computed == 1) REQUIRE(planned[i]);  // decode never skips
      }
      const size_t before = running.size();
      for (size_t i = 0; i < plan.admitted.size(); ++i) {
        REQUIRE(plan.admitted[i].index == static_cast<int32_t>(i));
        Simulated s = waiting.front();
        waiting.pop_front();
        s.admitted = ++admissions;
        REQUIRE(waiting_views[i].follows == (plan.admitted[i].rows == 0));
        if (plan.admitted[i].rows > 0) advance(s, plan.admitted[i].rows);
        running.push_back(s);
      }
      REQUIRE(total <= limits.token_budget);
      REQUIRE(logit_rows <= logit_cap);
      REQUIRE(prefill <= cap + 1);  // the first row of a one-token prompt counts as decode
      REQUIRE(running.size() <= static_cast<size_t>(limits.max_sequences));
      std::vector<Simulated> next;
      for (size_t i = 0; i < running.size(); ++i) {
        Simulated s = running[i];
        if (i < before && gone[i]) {
          s.computed = s.blocks = 0;
          waiting.push_front(s);
        } else if (s.known >= s.end) {
          free_blocks += s.blocks;
        } else {
          next.push_back(s);
        }
      }
      running = std::move(next);
    }
    CHECK(free_blocks == limits.total_blocks);
  }
}

}  // namespace
}  // namespace weft::batching
