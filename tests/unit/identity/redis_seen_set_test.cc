// Nonces and revoked tokens in a real Redis, seen by several gateways.
#include "libs/identity/redis_seen_set.h"

#include <atomic>
#include <thread>
#include <vector>

#include "libs/base/status.h"
#include "libs/redis/client.h"
#include "libs/redis/url.h"
#include "tests/support/catch.h"
#include "tests/support/redis_server.h"

using namespace std::chrono_literals;
using weft::identity::NewRedisSeenSet;

namespace {

std::unique_ptr<weft::redis::Client> Connect(const weft::testing::RedisServer& server) {
  auto endpoint = weft::redis::ParseUrl(server.unix_url());
  REQUIRE(endpoint.ok());
  weft::redis::Options options;
  options.endpoint = *endpoint;
  auto client = weft::redis::Client::Create(options);
  REQUIRE(client.ok());
  return *std::move(client);
}

}  // namespace

TEST_CASE("Of many gateways that see a name at once, one is the first", "[identity]") {
  weft::testing::RedisServer server;
  std::vector<std::unique_ptr<weft::redis::Client>> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(Connect(server));
  for (int round = 0; round < 20; ++round) {
    const std::string name = "nonce:key:" + std::to_string(round);
    std::atomic<int> first{0};
    std::vector<std::thread> threads;
    for (const auto& client : clients) {
      threads.emplace_back([&] {
        const auto added = NewRedisSeenSet(*client)->Add(name, 60s);
        if (added.ok() && *added) ++first;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(first == 1);
    CHECK(*NewRedisSeenSet(*clients[0])->Contains(name));
  }
  CHECK_FALSE(*NewRedisSeenSet(*clients[0])->Contains("jti:other"));
}

TEST_CASE("While Redis is away nothing counts as new", "[identity]") {
  weft::testing::RedisServer server;
  const auto client = Connect(server);
  const auto seen = NewRedisSeenSet(*client);
  CHECK(*seen->Add("a", 60s));
  server.Kill();
  CHECK(seen->Add("b", 60s).status().code() == absl::StatusCode::kUnavailable);
  CHECK(seen->Contains("a").status().code() == absl::StatusCode::kUnavailable);
}
