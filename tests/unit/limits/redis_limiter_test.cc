#include "libs/limits/redis_limiter.h"

#include <atomic>
#include <thread>

#include "libs/base/status.h"
#include "tests/support/catch.h"
#include "tests/unit/limits/limiter_fixture.h"

namespace weft::limits {
namespace {

using namespace std::chrono_literals;

TEST_CASE("Three limiters over one Redis admit what one would, within a percent", "[limits]") {
  testing::RedisServer server;
  constexpr int kLimiters = 3;
  std::vector<std::unique_ptr<redis::Client>> clients;
  std::vector<std::unique_ptr<Limiter>> limiters;
  for (int i = 0; i < kLimiters; ++i) {
    clients.push_back(OpenRedis(server));
    limiters.push_back(NewRedisLimiter(*clients.back()));
  }
  const std::vector<Charge> charges = {
      {.key = "all", .policy = "all", .limit = 400, .burst = 100, .window = 1s},
      Rate("wide", 1'000'000)};
  std::atomic<int> allowed{0}, asked{0};
  const auto begin = std::chrono::steady_clock::now();
  const auto end = begin + 2s;
  std::vector<std::thread> threads;
  for (int i = 0; i < kLimiters; ++i) {
    threads.emplace_back([&, i] {
      auto next = begin;
      while (next < end) {  // each 500 a second
        std::this_thread::sleep_until(next);
        allowed += Take(*limiters[i], charges).allowed;
        ++asked;
        next += 2ms;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  // What the limit gives in the time that it took: a loaded machine asks late, and counts so.
  const double most = 100 + 400 * took.count();
  CHECK(asked == kLimiters * 1000);
  CHECK(allowed <= most * 1.01 + 1);
  CHECK(allowed >= 100 + 400 * 1.9);
}

TEST_CASE("A gateway that died gives its places back when its leases run out", "[limits]") {
  testing::RedisServer server;
  auto client = OpenRedis(server);
  RedisLimiterOptions options;
  options.lease_time = 200ms;
  auto living = NewRedisLimiter(*client, nullptr, options);
  auto dead = NewRedisLimiter(*client, nullptr, options);
  const std::vector<Charge> charges = {Concurrent("slots", 2)};
  REQUIRE(Take(*living, charges, "mine").allowed);
  REQUIRE(Take(*dead, charges, "theirs").allowed);
  REQUIRE_FALSE(Take(*living, charges, "third").allowed);
  dead.reset();
  const auto end = std::chrono::steady_clock::now() + 30s;
  bool free = false;
  while (!free && std::chrono::steady_clock::now() < end) {
    REQUIRE(living->Renew().ok());
    free = Take(*living, charges, "third").allowed;
    if (!free) std::this_thread::sleep_for(10ms);
  }
  REQUIRE(free);
  REQUIRE(living->Renew().ok());
  CHECK_FALSE(Take(*living, charges, "fourth").allowed);  // what is renewed stays
}

TEST_CASE("After Redis lost everything, what runs counts again at the next Renew", "[limits]") {
  testing::RedisServer server;
  auto client = OpenRedis(server);
  uint64_t used = 10;
  auto limiter = NewRedisLimiter(*client, [&](const Charge&) { return used; });
  const std::vector<Charge> charges = {Concurrent("slots", 1), Quota("month", 100, 5)};
  REQUIRE(Take(*limiter, charges, "one").allowed);
  server.Kill();
  REQUIRE_FALSE(limiter->Take(charges, "two").ok());
  server.Restart();
  used = 15;
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (!limiter->Renew().ok() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(2ms);
  }
  CHECK_FALSE(Take(*limiter, charges, "two").allowed);
  const std::vector<uint64_t> actual = {0, 5};
  REQUIRE(limiter->Settle(charges, actual, "one").ok());
  const Verdict verdict = Take(*limiter, charges, "two");
  REQUIRE(verdict.allowed);
  CHECK(verdict.standings[1].remaining == 80);
}

TEST_CASE("Keys of rates and leases end by themselves", "[limits]") {
  testing::RedisServer server;
  auto client = OpenRedis(server);
  auto limiter = NewRedisLimiter(*client);
  Take(*limiter, {Rate("r", 3600), Concurrent("c", 5), Quota("q", 10, 1)});
  for (const char* key : {"weft:{limits}:r", "weft:{limits}:c", "weft:{limits}:q"}) {
    INFO(key);
    CHECK(client->Run({"PTTL", key}).value().integer > 0);
  }
}

}  // namespace
}  // namespace weft::limits
