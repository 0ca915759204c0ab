#include "libs/device/thread_team.h"

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "tests/support/catch.h"

namespace weft {
namespace {

TEST_CASE("ThreadTeam runs every task of every loop exactly once", "[device]") {
  for (int threads : {1, 2, 3, 5}) {
    ThreadTeam team({.threads = threads, .spin_us = 20});
    for (int round = 0; round < 3000; ++round) {
      const int64_t tasks = round % 7;
      std::vector<int> hits(static_cast<size_t>(tasks), 0);
      team.ParallelFor(tasks, [&](int64_t task, int rank) {
        hits[static_cast<size_t>(task)] += rank >= 0 && rank < threads ? 1 : 100;
      });
      REQUIRE(std::accumulate(hits.begin(), hits.end(), int64_t{0}) == tasks);
    }
  }
}

TEST_CASE("ThreadTeam wakes parked workers and shares the work with them", "[device]") {
  ThreadTeam team({.threads = 2, .spin_us = 0});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  // Task 0 returns only after task 1 has started, which needs the other member.
  std::atomic<bool> second_started{false};
  team.ParallelFor(2, [&](int64_t task, int) {
    if (task == 1) second_started.store(true);
    while (task == 0 && !second_started.load()) std::this_thread::yield();
  });
  REQUIRE(second_started.load());
}

TEST_CASE("ThreadTeam makes what a task wrote visible to the caller", "[device]") {
  ThreadTeam team({.threads = 3, .spin_us = 50});
  std::vector<int64_t> values(64);
  for (int64_t round = 1; round < 500; ++round) {
    team.ParallelFor(64, [&](int64_t task, int) { values[static_cast<size_t>(task)] += task; });
    REQUIRE(values[63] == 63 * round);
  }
}

TEST_CASE("ThreadTeam counts the loops that it hands over", "[device]") {
  ThreadTeam team({.threads = 2});
  REQUIRE(team.fork_joins() == 0);
  team.ParallelFor(0, [](int64_t, int) {});
  team.ParallelFor(1, [](int64_t, int) {});  // one task stays with the caller
  REQUIRE(team.fork_joins() == 0);
  for (int i = 0; i < 3; ++i) team.ParallelFor(2, [](int64_t, int) {});
  REQUIRE(team.fork_joins() == 3);
  ThreadTeam alone({.threads = 1});
  alone.ParallelFor(9, [](int64_t, int) {});
  REQUIRE(alone.fork_joins() == 0);
}

TEST_CASE("ThreadTeam stops at once when nothing was ever run", "[device]") {
  for (int i = 0; i < 50; ++i) ThreadTeam team({.threads = 4, .spin_us = 0});
  SUCCEED();
}

}  // namespace
}  // namespace weft
