#include "libs/rpc/backoff.h"

#include <thread>
#include <vector>

#include "tests/support/catch.h"

namespace weft::rpc {
namespace {

using namespace std::chrono_literals;

TEST_CASE("Backoff doubles up to its maximum, within the jitter", "[rpc]") {
  Backoff backoff({100ms, 1000ms, 2.0, 0.2}, 7);
  double base = 100e6;
  for (int i = 0; i < 10; ++i) {
    const double wait = static_cast<double>(backoff.Next().count());
    REQUIRE(wait >= base * 0.8 - 1);
    REQUIRE(wait <= base * 1.2 + 1);
    base = std::min(base * 2, 1000e6);
  }
  REQUIRE(backoff.attempts() == 10);
  backoff.Reset();
  REQUIRE(backoff.Next() <= 120ms);
}

TEST_CASE("Backoff of different seeds does not move in step", "[rpc]") {
  Backoff a({}, 1);
  Backoff b({}, 2);
  REQUIRE(a.Next() != b.Next());
}

TEST_CASE("RetryBudget lets a share of the requests be tried again", "[rpc]") {
  RetryBudget budget(0.1, 2);
  REQUIRE(budget.TryRetry());
  REQUIRE(budget.TryRetry());
  REQUIRE_FALSE(budget.TryRetry());
  for (int i = 0; i < 9; ++i) budget.OnRequest();
  REQUIRE_FALSE(budget.TryRetry());
  budget.OnRequest();
  budget.OnRequest();
  REQUIRE(budget.TryRetry());
  for (int i = 0; i < 1000; ++i) budget.OnRequest();
  REQUIRE(budget.TryRetry());
  REQUIRE(budget.TryRetry());
  REQUIRE_FALSE(budget.TryRetry());
}

TEST_CASE("CircuitBreaker opens after failures in a row and closes after a good probe", "[rpc]") {
  FakeClock clock;
  CircuitBreaker breaker({.failures_to_open = 3, .open_for = 1000ms}, clock);
  using State = CircuitBreaker::State;
  for (int i = 0; i < 2; ++i) {
    REQUIRE(breaker.TryAcquire());
    breaker.OnFailure();
  }
  breaker.OnSuccess();  // not in a row any more
  for (int i = 0; i < 3; ++i) {
    REQUIRE(breaker.TryAcquire());
    breaker.OnFailure();
  }
  REQUIRE(breaker.state() == State::kOpen);
  REQUIRE_FALSE(breaker.TryAcquire());
  REQUIRE(breaker.RetryAfter() == 1000ms);
  clock.Advance(400ms);
  REQUIRE(breaker.RetryAfter() == 600ms);
  clock.Advance(600ms);
  REQUIRE(breaker.TryAcquire());
  REQUIRE(breaker.state() == State::kHalfOpen);
  REQUIRE_FALSE(breaker.TryAcquire());
  breaker.OnSuccess();
  REQUIRE(breaker.state() == State::kClosed);
  REQUIRE(breaker.TryAcquire());
}

TEST_CASE("CircuitBreaker opens again after a bad probe, and forgets a lost one", "[rpc]") {
  FakeClock clock;
  CircuitBreaker breaker({.failures_to_open = 1, .open_for = 1000ms, .successes_to_close = 2},
                         clock);
  REQUIRE(breaker.TryAcquire());
  breaker.OnFailure();
  clock.Advance(1000ms);
  REQUIRE(breaker.TryAcquire());
  breaker.OnFailure();
  REQUIRE_FALSE(breaker.TryAcquire());
  clock.Advance(1000ms);
  REQUIRE(breaker.TryAcquire());  // its end is never reported
  clock.Advance(999ms);
  REQUIRE_FALSE(breaker.TryAcquire());
  clock.Advance(1ms);
  REQUIRE(breaker.TryAcquire());
  breaker.OnAbandoned();
  REQUIRE(breaker.TryAcquire());
  breaker.OnSuccess();
  REQUIRE(breaker.state() == CircuitBreaker::State::kHalfOpen);
  REQUIRE(breaker.TryAcquire());
  breaker.OnSuccess();
  REQUIRE(breaker.state() == CircuitBreaker::State::kClosed);
}

TEST_CASE("CircuitBreaker lets exactly one of many threads probe", "[rpc]") {
  FakeClock clock;
  CircuitBreaker breaker({.failures_to_open = 1, .open_for = 10ms}, clock);
  REQUIRE(breaker.TryAcquire());
  breaker.OnFailure();
  clock.Advance(10ms);
  std::atomic<int> probes = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { probes += breaker.TryAcquire() ? 1 : 0; });
  }
  for (auto& thread : threads) thread.join();
  REQUIRE(probes == 1);
}

}  // namespace
}  // namespace weft::rpc
