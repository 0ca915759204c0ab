#include "libs/limits/limiter.h"

#include <atomic>
#include <thread>

#include "tests/support/catch.h"
#include "tests/unit/limits/limiter_fixture.h"

namespace weft::limits {
namespace {

using namespace std::chrono_literals;
using Outcome = Standing::Outcome;

// Runs the rest of a test for a local and for a Redis limiter.
struct Both {
  explicit Both(bool local, QuotaSeed seed = nullptr) {
    if (local) {
      limiter = NewLocalLimiter(std::move(seed));
      return;
    }
    server = std::make_unique<testing::RedisServer>();
    client = OpenRedis(*server);
    limiter = NewRedisLimiter(*client, std::move(seed));
  }
  std::unique_ptr<testing::RedisServer> server;
  std::unique_ptr<redis::Client> client;
  std::unique_ptr<Limiter> limiter;
};

TEST_CASE("A rate lets its burst pass and then says how long to wait", "[limits]") {
  Both both(GENERATE(true, false));
  for (uint64_t i = 1; i <= 4; ++i) {
    const Verdict verdict = Take(*both.limiter, {Rate("a", 4)});
    REQUIRE(verdict.allowed);
    CHECK(verdict.standings[0].remaining == 4 - i);
  }
  const Verdict refused = Take(*both.limiter, {Rate("a", 4)});
  CHECK_FALSE(refused.allowed);
  CHECK(refused.standings[0].outcome == Outcome::kRefused);
  CHECK(refused.standings[0].retry_after <= 15min);
  CHECK(refused.standings[0].retry_after > 14min);
  CHECK(refused.standings[0].reset > 59min);
  CHECK(Take(*both.limiter, {Rate("b", 4)}).allowed);
}

TEST_CASE("All limits of a request are taken, or none", "[limits]") {
  Both both(GENERATE(true, false));
  const std::vector<Charge> charges = {Rate("key", 10), Rate("tenant", 3), Concurrent("slots", 9),
                                       Quota("month", 100, 5)};
  for (int i = 0; i < 3; ++i) REQUIRE(Take(*both.limiter, charges, std::to_string(i)).allowed);
  for (int i = 0; i < 5; ++i) {
    const Verdict verdict = Take(*both.limiter, charges, "more");
    CHECK_FALSE(verdict.allowed);
    CHECK(verdict.binding == 1);
    CHECK(verdict.standings[0].outcome == Outcome::kPassed);
  }
  const Verdict others = Take(*both.limiter, {charges[0], charges[2], charges[3]}, "other");
  REQUIRE(others.allowed);
  CHECK(others.standings[0].remaining == 10 - 4);  // the refused ones cost nothing
  CHECK(others.standings[1].remaining == 9 - 4);
  CHECK(others.standings[2].remaining == 100 - 4 * 5);
}

TEST_CASE("The limit that binds is the one that keeps a client waiting longest", "[limits]") {
  Both both(GENERATE(true, false));
  const std::vector<Charge> charges = {Rate("fast", 100), Rate("slow", 1), Rate("wide", 1000)};
  const Verdict passed = Take(*both.limiter, charges);
  REQUIRE(passed.allowed);
  CHECK(passed.binding == 1);  // nothing is left of it
  Charge fast = charges[0];
  fast.cost = 99;
  REQUIRE(Take(*both.limiter, {fast}).allowed);
  const Verdict refused = Take(*both.limiter, charges);
  CHECK(refused.standings[0].outcome == Outcome::kRefused);
  CHECK(refused.binding == 1);
}

TEST_CASE("Tokens are reserved by estimate and settled by what was used", "[limits]") {
  Both both(GENERATE(true, false));
  const std::vector<Charge> charges = {Rate("tokens", 1000, 800)};
  REQUIRE(Take(*both.limiter, charges).allowed);
  CHECK_FALSE(Take(*both.limiter, charges).allowed);
  const std::vector<uint64_t> actual = {100};
  REQUIRE(both.limiter->Settle(charges, actual, "r").ok());
  const Verdict after = Take(*both.limiter, charges);
  REQUIRE(after.allowed);
  CHECK(after.standings[0].remaining == 100);
  SECTION("more than the estimate is owed") {
    const std::vector<uint64_t> more = {1000};
    REQUIRE(both.limiter->Settle(charges, more, "r").ok());
    const Verdict owing = Take(*both.limiter, {Rate("tokens", 1000, 1)});
    CHECK_FALSE(owing.allowed);
    CHECK(owing.standings[0].retry_after > 5min);  // 100 of 1000 an hour are owed
  }
  SECTION("nothing used gives everything back, and no more than that") {
    const std::vector<uint64_t> none = {0};
    REQUIRE(both.limiter->Settle(charges, none, "r").ok());
    REQUIRE(both.limiter->Settle(charges, none, "r").ok());
    CHECK(Take(*both.limiter, {Rate("tokens", 1000, 1000)}).allowed);
    CHECK_FALSE(Take(*both.limiter, {Rate("tokens", 1000, 1)}).allowed);
  }
}

TEST_CASE("A request that can never fit is told apart from one that has to wait", "[limits]") {
  Both both(GENERATE(true, false));
  CHECK(Take(*both.limiter, {Rate("tokens", 100, 101)}).standings[0].outcome == Outcome::kNever);
  CHECK(Take(*both.limiter, {Quota("month", 100, 101)}).standings[0].outcome == Outcome::kNever);
  CHECK(Take(*both.limiter, {Rate("closed", 0)}).standings[0].outcome == Outcome::kNever);
  CHECK(Take(*both.limiter, {Concurrent("none", 0)}).standings[0].outcome == Outcome::kNever);
}

TEST_CASE("Concurrent requests give their places back, once", "[limits]") {
  Both both(GENERATE(true, false));
  const std::vector<Charge> charges = {Concurrent("slots", 2)};
  REQUIRE(Take(*both.limiter, charges, "one").allowed);
  REQUIRE(Take(*both.limiter, charges, "two").allowed);
  CHECK_FALSE(Take(*both.limiter, charges, "three").allowed);
  const std::vector<uint64_t> any = {0};
  REQUIRE(both.limiter->Settle(charges, any, "one").ok());
  CHECK(Take(*both.limiter, charges, "three").allowed);
  CHECK_FALSE(Take(*both.limiter, charges, "four").allowed);
}

TEST_CASE("A quota holds for its period and begins with what was used before", "[limits]") {
  int asked = 0;
  Both both(GENERATE(true, false), [&](const Charge& charge) -> absl::StatusOr<uint64_t> {
    ++asked;
    return charge.key == "old" ? 90 : 0;
  });
  const std::vector<Charge> charges = {Quota("old", 100, 6)};
  const Verdict first = Take(*both.limiter, charges);
  REQUIRE(first.allowed);
  CHECK(first.standings[0].remaining == 4);
  const Verdict second = Take(*both.limiter, charges);
  CHECK_FALSE(second.allowed);
  CHECK(second.standings[0].retry_after == 24h * 10);
  const std::vector<uint64_t> actual = {1};
  REQUIRE(both.limiter->Settle(charges, actual, "r").ok());
  CHECK(Take(*both.limiter, charges).standings[0].remaining == 3);
  CHECK(asked == 1);
  CHECK(Take(*both.limiter, {Quota("new", 100, 1)}).standings[0].remaining == 99);
}

TEST_CASE("A quota that is used up at the start does not ask for its seed each time", "[limits]") {
  int asked = 0;
  Both both(GENERATE(true, false), [&](const Charge&) -> absl::StatusOr<uint64_t> {
    ++asked;
    return 100;
  });
  for (int i = 0; i < 5; ++i) CHECK_FALSE(Take(*both.limiter, {Quota("q", 100, 1)}).allowed);
  CHECK(asked == 1);
}

TEST_CASE("Threads together get exactly what the limit says", "[limits]") {
  Both both(GENERATE(true, false));
  std::atomic<int> allowed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 250; ++i) {
        allowed += Take(*both.limiter, {Rate("shared", 300), Rate("wide", 100'000)}).allowed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(allowed == 300);
}

TEST_CASE("A local rate fills with time, evenly", "[limits]") {
  FakeClock clock;
  auto limiter = NewLocalLimiter(nullptr, clock);
  const std::vector<Charge> charges = {
      {.key = "a", .policy = "a", .limit = 60, .burst = 10, .window = 60s}};
  for (int i = 0; i < 10; ++i) REQUIRE(Take(*limiter, charges).allowed);
  const Verdict refused = Take(*limiter, charges);
  REQUIRE_FALSE(refused.allowed);
  CHECK(refused.standings[0].retry_after == 1s);
  int allowed = 0;
  for (int i = 0; i < 600; ++i) {
    clock.Advance(100ms);
    allowed += Take(*limiter, charges).allowed;
  }
  CHECK(allowed == 60);
  clock.Advance(1h);
  CHECK(Take(*limiter, charges).standings[0].remaining == 9);
}

TEST_CASE("A local limiter forgets full rates first and stays within its bound", "[limits]") {
  FakeClock clock;
  auto limiter = NewLocalLimiter(nullptr, clock, 100);
  for (int i = 0; i < 100; ++i) Take(*limiter, {Rate("old" + std::to_string(i), 3600)});
  clock.Advance(10min);
  REQUIRE(Take(*limiter, {Rate("kept", 1)}).allowed);
  for (int i = 0; i < 99; ++i) Take(*limiter, {Rate("new" + std::to_string(i), 3600)});
  CHECK_FALSE(Take(*limiter, {Rate("kept", 1)}).allowed);
}

}  // namespace
}  // namespace weft::limits
