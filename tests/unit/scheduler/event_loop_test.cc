#include "services/scheduler/event_loop.h"

#include <atomic>
#include <future>

#include "tests/support/catch.h"

using weft::Clock;
using weft::SteadyTime;
using weft::scheduler::EventLoop;

TEST_CASE("EventLoop takes no more tasks than it may, nor more bytes", "[scheduler]") {
  std::promise<void> gate;
  const auto open = gate.get_future().share();
  std::atomic<int> ran{0};
  EventLoop loop(8, 1000, [] { return Clock::Real().Now() + std::chrono::hours(1); });
  loop.Start();
  std::promise<void> entered;
  REQUIRE(loop.Post([&] {
    entered.set_value();
    open.wait();
  }));
  entered.get_future().wait();  // from here on everything waits
  const auto task = [&] { ++ran; };
  CHECK(loop.Post(task, 900));
  CHECK_FALSE(loop.Post(task, 101));
  CHECK(loop.Post(task, 100));
  CHECK(loop.waiting_bytes() == 1000);
  CHECK_FALSE(loop.Post(task, 1));
  // What holds nothing is bounded by number.
  for (int i = 0; i < 6; ++i) CHECK(loop.Post(task));
  CHECK_FALSE(loop.Post(task));
  gate.set_value();
  loop.Stop();
  CHECK(ran == 8);
  CHECK(loop.waiting_bytes() == 0);
  CHECK_FALSE(loop.Post(task));
}

TEST_CASE("EventLoop takes a task of any size when nothing else waits", "[scheduler]") {
  EventLoop loop(8, 10, [] { return Clock::Real().Now() + std::chrono::hours(1); });
  std::promise<void> ran;
  CHECK(loop.Post([&] { ran.set_value(); }, 1'000'000));
  CHECK_FALSE(loop.Post([] {}, 1));
  loop.Start();
  ran.get_future().wait();
  loop.Stop();
}
