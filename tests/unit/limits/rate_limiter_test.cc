#include "libs/limits/rate_limiter.h"

#include <atomic>
#include <thread>
#include <vector>

#include "tests/support/catch.h"

using namespace std::chrono_literals;
using weft::FakeClock;
using weft::limits::Limit;
using weft::limits::NewLocalRateLimiter;

TEST_CASE("A key may spend its whole limit at once and no more", "[limits]") {
  FakeClock clock;
  auto limiter = NewLocalRateLimiter(clock);
  const Limit limit{60, 60s};
  for (uint32_t i = 0; i < 60; ++i) {
    const auto decision = limiter->Take("a", limit);
    REQUIRE(decision.allowed);
    REQUIRE(decision.remaining == 59 - i);
  }
  const auto refused = limiter->Take("a", limit);
  CHECK_FALSE(refused.allowed);
  CHECK(refused.remaining == 0);
  CHECK(refused.retry_after == 1s);
  CHECK(refused.reset == 60s);
  CHECK(limiter->Take("b", limit).allowed);
}

TEST_CASE("A bucket fills at the rate of its limit and never beyond it", "[limits]") {
  FakeClock clock;
  auto limiter = NewLocalRateLimiter(clock);
  const Limit limit{60, 60s};
  for (int i = 0; i < 60; ++i) limiter->Take("a", limit);
  clock.Advance(999ms);
  CHECK_FALSE(limiter->Take("a", limit).allowed);
  clock.Advance(1ms);
  CHECK(limiter->Take("a", limit).allowed);
  CHECK_FALSE(limiter->Take("a", limit).allowed);
  clock.Advance(1h);
  for (int i = 0; i < 60; ++i) REQUIRE(limiter->Take("a", limit).allowed);
  CHECK_FALSE(limiter->Take("a", limit).allowed);
}

TEST_CASE("Limits that do not divide the window admit no more than they say", "[limits]") {
  for (const uint32_t requests : {1u, 7u, 59u, 1000u, 999'983u}) {
    FakeClock clock;
    auto limiter = NewLocalRateLimiter(clock);
    const Limit limit{requests, 60s};
    uint32_t allowed = 0;
    while (limiter->Take("a", limit).allowed) ++allowed;
    CHECK(allowed == requests);
  }
}

TEST_CASE("A limit that is lowered holds within its window", "[limits]") {
  FakeClock clock;
  auto limiter = NewLocalRateLimiter(clock);
  for (int i = 0; i < 1000; ++i) limiter->Take("a", {1000, 60s});
  CHECK_FALSE(limiter->Take("a", {1, 60s}).allowed);
  clock.Advance(61s);
  CHECK(limiter->Take("a", {1, 60s}).allowed);
}

TEST_CASE("Memory is bounded by the number of keys", "[limits]") {
  FakeClock clock;
  auto limiter = NewLocalRateLimiter(clock, 160);
  for (int i = 0; i < 10'000; ++i) {
    CHECK(limiter->Take("key" + std::to_string(i), {1, 60s}).allowed);
  }
}

TEST_CASE("Threads together get exactly the limit", "[limits]") {
  FakeClock clock;
  auto limiter = NewLocalRateLimiter(clock);
  std::atomic<int> allowed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) allowed += limiter->Take("a", {1000, 60s}).allowed ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(allowed == 1000);
}

TEST_CASE("Rate limit headers are structured fields with whole seconds", "[limits]") {
  weft::limits::Decision decision;
  decision.remaining = 12;
  decision.reset = 47'001ms;
  CHECK(weft::limits::RateLimitHeader(decision) == "\"default\";r=12;t=48");
  CHECK(weft::limits::RateLimitPolicyHeader({60, 60s}) == "\"default\";q=60;w=60");
  CHECK(weft::limits::RetryAfterHeader(0ms) == "1");
  CHECK(weft::limits::RetryAfterHeader(1001ms) == "2");
}

TEST_CASE("Peek says what Take would and spends nothing", "[limits]") {
  FakeClock clock;
  auto limiter = NewLocalRateLimiter(clock);
  const Limit limit{2, 60s};
  for (int i = 0; i < 5; ++i) CHECK(limiter->Peek("a", limit).remaining == 1);
  CHECK(limiter->Take("a", limit).remaining == 1);
  CHECK(limiter->Peek("a", limit).remaining == 0);
  CHECK(limiter->Take("a", limit).allowed);
  CHECK_FALSE(limiter->Peek("a", limit).allowed);
  CHECK(limiter->Peek("a", limit).retry_after == limiter->Take("a", limit).retry_after);
  CHECK_FALSE(limiter->Peek("a", {0, 60s}).allowed);
  clock.Advance(30s);
  CHECK(limiter->Peek("a", limit).allowed);
}

TEST_CASE("Rate limit headers name their policy", "[limits]") {
  CHECK(weft::limits::RateLimitPolicyHeader({5, 60s}, "failed-auth") == "\"failed-auth\";q=5;w=60");
  CHECK(weft::limits::RateLimitHeader({}, "failed-auth") == "\"failed-auth\";r=0;t=0");
}
