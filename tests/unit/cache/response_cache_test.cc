#include "libs/cache/response_cache.h"

#include <thread>

#include "libs/base/status.h"
#include "libs/redis/url.h"
#include "tests/support/catch.h"
#include "tests/support/redis_server.h"

namespace weft::cache {
namespace {

using namespace std::chrono_literals;

std::string KeyOf(std::string_view request, std::string_view tenant = "acme",
                  std::string_view model = "m") {
  return CacheKey({.tenant = tenant, .model = model, .version = "1", .request = request});
}

template <typename Condition>
bool Eventually(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

// One gateway's cache over a Redis.
struct Gateway {
  explicit Gateway(const testing::RedisServer& server, std::string secret = "s",
                   Clock& clock = Clock::Real()) {
    redis::Options options;
    options.endpoint = redis::ParseUrl(server.unix_url()).value();
    options.timeout = 10s;
    options.connect_timeout = 10s;
    options.min_retry = 5ms;
    options.max_retry = 20ms;
    client = redis::Client::Create(options).value();
    CacheOptions cache_options;
    cache_options.secret = std::move(secret);
    cache = ResponseCache::Create(cache_options, client.get(), clock).value();
    // It clears itself when its subscription stands: tests begin after that.
    REQUIRE(Eventually([&] { return cache->Epoch() == 1; }));
  }
  std::unique_ptr<redis::Client> client;
  std::unique_ptr<ResponseCache> cache;
};

TEST_CASE("An answer is found until its time is over", "[cache]") {
  FakeClock clock;
  CacheOptions options;
  options.ttl = 60s;
  auto cache = ResponseCache::Create(options, nullptr, clock).value();
  const std::string key = KeyOf("a");
  CHECK_FALSE(cache->Find(key));
  REQUIRE(cache->Store(key, "answer", cache->Epoch()));
  clock.Advance(59s);
  const auto hit = cache->Find(key);
  REQUIRE(hit);
  CHECK(*hit->value == "answer");
  CHECK(hit->age == 59s);
  clock.Advance(1s);
  CHECK_FALSE(cache->Find(key));
  CHECK(cache->stats().entries == 0);
}

TEST_CASE("An answer that was begun before its invalidation is not kept", "[cache]") {
  auto cache = ResponseCache::Create({}, nullptr).value();
  const uint64_t before = cache->Epoch();
  REQUIRE(cache->Invalidate({.tenant = "acme"}).ok());
  CHECK_FALSE(cache->Store(KeyOf("a"), "old", before));
  CHECK(cache->Store(KeyOf("a", "other"), "not meant", before));
  CHECK(cache->Store(KeyOf("a"), "new", cache->Epoch()));
  for (int i = 0; i < 2'000; ++i) cache->Invalidate({.tenant = "nobody"}).status().IgnoreError();
  CHECK_FALSE(cache->Store(KeyOf("b"), "old", before));  // nobody knows any more
}

TEST_CASE("Invalidation takes exactly what is meant, here and in Redis", "[cache]") {
  testing::RedisServer server;
  Gateway one(server);
  const auto fill = [&] {
    for (const char* tenant : {"acme", "other"}) {
      for (const char* model : {"m", "n"}) {
        REQUIRE(one.cache->Store(KeyOf("a", tenant, model), "x", one.cache->Epoch()));
      }
    }
    REQUIRE(Eventually([&] { return one.client->Run({"DBSIZE"})->integer == 4; }));
  };
  const auto left = [&] {
    Gateway fresh(server);  // sees Redis alone
    int n = 0;
    for (const char* tenant : {"acme", "other"}) {
      for (const char* model : {"m", "n"}) {
        const bool here = one.cache->Find(KeyOf("a", tenant, model)).has_value();
        CHECK(fresh.cache->Find(KeyOf("a", tenant, model)).has_value() == here);
        n += here;
      }
    }
    return n;
  };
  fill();
  CHECK(one.cache->Invalidate({.tenant = "acme", .model = "m"}).value() == 1);
  CHECK(left() == 3);
  CHECK(one.cache->Invalidate({.model = "n"}).value() == 2);
  CHECK(left() == 1);
  fill();
  CHECK(one.cache->Invalidate({.glob = "code_gen:oth*"}).value() == 2);
  CHECK(left() == 2);
  CHECK(one.cache->Invalidate({}).value() == 2);
  CHECK(left() == 0);
}

TEST_CASE("What one gateway stored another finds, and what it invalidates is gone there",
          "[cache]") {
  testing::RedisServer server;
  Gateway one(server), two(server);
  const std::string key = KeyOf("shared");
  REQUIRE(one.cache->Store(key, "answer", one.cache->Epoch()));
  std::optional<ResponseCache::Hit> hit;
  REQUIRE(Eventually([&] { return (hit = two.cache->Find(key)).has_value(); }));
  CHECK(*hit->value == "answer");
  CHECK(hit->from_redis);
  CHECK_FALSE(two.cache->Find(key)->from_redis);  // kept by now
  REQUIRE(one.cache->Invalidate({.tenant = "acme"}).ok());
  CHECK(Eventually([&] { return !two.cache->Find(key).has_value(); }));
}

TEST_CASE("A value that somebody put or moved in Redis is no answer", "[cache]") {
  testing::RedisServer server;
  Gateway one(server);
  const std::string key = KeyOf("a"), other = KeyOf("b");
  REQUIRE(one.cache->Store(key, "answer", one.cache->Epoch()));
  REQUIRE(Eventually([&] { return one.client->Run({"EXISTS", key})->integer == 1; }));
  const std::string sealed = one.client->Run({"GET", key}).value().text;
  Gateway two(server), stranger(server, "another secret");
  CHECK_FALSE(stranger.cache->Find(key));
  REQUIRE(one.client->Run({"SET", other, sealed}).ok());
  CHECK_FALSE(two.cache->Find(other));
  std::string changed = sealed;
  changed.back() ^= 1;
  for (const std::string& bad : {changed, std::string("rubbish"), std::string(), sealed + "x",
                                 sealed.substr(0, sealed.size() - 1)}) {
    REQUIRE(one.client->Run({"SET", key, bad}).ok());
    CHECK_FALSE(two.cache->Find(key));
  }
  REQUIRE(one.client->Run({"DEL", key}).ok());
  REQUIRE(one.client->Run({"LPUSH", key, "x"}).ok());
  CHECK_FALSE(two.cache->Find(key));
  CHECK(two.cache->stats().refused == 6);
}

TEST_CASE("Without its Redis a gateway still has its own answers", "[cache]") {
  testing::RedisServer server;
  Gateway one(server);
  REQUIRE(one.cache->Store(KeyOf("a"), "answer", one.cache->Epoch()));
  server.Kill();
  CHECK(one.cache->Find(KeyOf("a")));
  CHECK_FALSE(one.cache->Find(KeyOf("b")));
  CHECK(one.cache->Store(KeyOf("b"), "more", one.cache->Epoch()));
  CHECK(one.cache->Invalidate({}).status().code() == absl::StatusCode::kUnavailable);
  CHECK_FALSE(one.cache->Find(KeyOf("a")));
  const uint64_t before = one.cache->Epoch();
  server.Restart();
  // What others invalidated in between is not known: it begins anew.
  REQUIRE(Eventually([&] { return one.cache->Epoch() > before; }));
  CHECK_FALSE(one.cache->Find(KeyOf("b")));
}

TEST_CASE("Memory is bounded, and large answers are not kept", "[cache]") {
  CacheOptions options;
  options.max_bytes = 100'000;
  options.max_value_bytes = 5'000;
  auto cache = ResponseCache::Create(options, nullptr).value();
  for (int i = 0; i < 1'000; ++i) {
    REQUIRE(cache->Store(KeyOf(std::to_string(i)), std::string(1'000, 'x'), cache->Epoch()));
  }
  CHECK(cache->stats().bytes <= 100'000);
  CHECK(cache->stats().entries > 50);
  CHECK_FALSE(cache->Store(KeyOf("large"), std::string(5'001, 'x'), cache->Epoch()));
}

}  // namespace
}  // namespace weft::cache
