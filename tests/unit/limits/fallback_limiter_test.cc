#include "libs/limits/fallback_limiter.h"

#include <thread>

#include "libs/base/status.h"
#include "tests/support/catch.h"
#include "tests/unit/limits/limiter_fixture.h"

namespace weft::limits {
namespace {

using namespace std::chrono_literals;

// A Redis that is there and goes away.
struct Fallback {
  explicit Fallback(WhenAway when_away)
      : client(OpenRedis(server)),
        limiter(NewFallbackLimiter(NewRedisLimiter(*client), NewLocalLimiter(), when_away,
                                   {.away = [this](const absl::Status&, bool) { ++away; }})) {}

  void Restart() {
    server.Restart();
    const auto end = std::chrono::steady_clock::now() + 30s;
    while (!client->up() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(2ms);
    }
    REQUIRE(client->up());
  }

  testing::RedisServer server;
  std::unique_ptr<redis::Client> client;
  int away = 0;
  std::unique_ptr<Limiter> limiter;
};

TEST_CASE("While Redis is away a gateway counts by itself", "[limits]") {
  Fallback f(WhenAway::kLocal);
  const std::vector<Charge> charges = {Rate("a", 2), Concurrent("c", 2)};
  REQUIRE(Take(*f.limiter, charges, "one").allowed);
  CHECK(f.away == 0);
  f.server.Kill();
  CHECK(Take(*f.limiter, charges, "two").allowed);
  CHECK(Take(*f.limiter, charges, "three").allowed);
  CHECK_FALSE(Take(*f.limiter, charges, "four").allowed);
  CHECK(f.away == 3);
  f.Restart();
  // What was taken here is settled here, and Redis counts on.
  const std::vector<uint64_t> actual = {1, 1};
  CHECK(f.limiter->Settle(charges, actual, "two").ok());
  CHECK(Take(*f.limiter, charges, "five").allowed);
}

TEST_CASE("While Redis is away a gateway that must not guess refuses", "[limits]") {
  Fallback f(WhenAway::kRefuse);
  const std::vector<Charge> charges = {Rate("a", 100)};
  REQUIRE(Take(*f.limiter, charges).allowed);
  f.server.Kill();
  CHECK(f.limiter->Take(charges, "r").status().code() == absl::StatusCode::kUnavailable);
  f.Restart();
  CHECK(Take(*f.limiter, charges).allowed);
}

TEST_CASE("What could not be settled while Redis was away is settled after it", "[limits]") {
  Fallback f(WhenAway::kLocal);
  const std::vector<Charge> charges = {Quota("month", 100, 80)};
  REQUIRE(Take(*f.limiter, charges, "one").allowed);
  f.server.Freeze();
  f.server.Thaw();
  // Gone for the client, with its data kept: the connections are cut.
  f.client->Run({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"}).status().IgnoreError();
  const std::vector<uint64_t> actual = {30};
  REQUIRE(f.limiter->Settle(charges, actual, "one").ok());
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (!f.limiter->Renew().ok() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(2ms);
  }
  CHECK(Take(*f.limiter, {Quota("month", 100, 1)}).standings[0].remaining == 69);
}

}  // namespace
}  // namespace weft::limits
