#include "libs/redis/subscriber.h"

#include <mutex>
#include <thread>

#include "libs/redis/client.h"
#include "libs/redis/url.h"
#include "tests/support/catch.h"
#include "tests/support/redis_server.h"

namespace weft::redis {
namespace {

using namespace std::chrono_literals;

struct Heard {
  std::mutex mutex;
  std::vector<std::string> messages;
  int connected = 0;
  int lost = 0;

  SubscriberCallbacks Callbacks() {
    return {.message =
                [this](std::string_view channel, std::string_view text) {
                  std::lock_guard lock(mutex);
                  messages.push_back(std::string(channel) + ": " + std::string(text));
                },
            .state =
                [this](bool now) {
                  std::lock_guard lock(mutex);
                  ++(now ? connected : lost);
                }};
  }
  template <typename Condition>
  bool Eventually(const Condition& condition) {
    const auto end = std::chrono::steady_clock::now() + 30s;
    while (true) {
      {
        std::lock_guard lock(mutex);
        if (condition()) return true;
      }
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(2ms);
    }
  }
};

Options OptionsFor(const std::string& url) {
  Options out;
  out.endpoint = ParseUrl(url).value();
  out.timeout = 10s;
  out.connect_timeout = 10s;
  out.min_retry = 5ms;
  out.max_retry = 20ms;
  return out;
}

TEST_CASE("A subscriber hears its channels, in order, and no others", "[redis]") {
  testing::RedisServer server;
  Heard heard;
  auto subscriber =
      Subscriber::Start(OptionsFor(server.url()), {"one", "two"}, heard.Callbacks()).value();
  REQUIRE(heard.Eventually([&] { return heard.connected == 1; }));
  auto client = Client::Create(OptionsFor(server.url())).value();
  CHECK(client->Run({"PUBLISH", "one", "a"}).value().integer == 1);
  CHECK(client->Run({"PUBLISH", "three", "x"}).value().integer == 0);
  CHECK(client->Run({"PUBLISH", "two", std::string_view("b\0c", 3)}).value().integer == 1);
  REQUIRE(heard.Eventually([&] { return heard.messages.size() == 2; }));
  CHECK(heard.messages == std::vector<std::string>{"one: a", std::string("two: b\0c", 8)});
}

TEST_CASE("A subscription that broke comes back by itself and says so", "[redis]") {
  testing::RedisServer server;
  Heard heard;
  auto subscriber = Subscriber::Start(OptionsFor(server.url()), {"c"}, heard.Callbacks()).value();
  REQUIRE(heard.Eventually([&] { return heard.connected == 1; }));
  server.Kill();
  REQUIRE(heard.Eventually([&] { return heard.lost == 1; }));
  server.Restart();
  REQUIRE(heard.Eventually([&] { return heard.connected == 2; }));
  auto client = Client::Create(OptionsFor(server.url())).value();
  CHECK(client->Run({"PUBLISH", "c", "again"}).value().integer == 1);
  REQUIRE(heard.Eventually([&] { return heard.messages.size() == 1; }));
}

TEST_CASE("A silent server is probed, and left when it does not answer", "[redis]") {
  testing::RedisServer server;
  Heard heard;
  auto subscriber =
      Subscriber::Start(OptionsFor(server.url()), {"c"}, heard.Callbacks(), 30ms).value();
  REQUIRE(heard.Eventually([&] { return heard.connected == 1; }));
  std::this_thread::sleep_for(150ms);  // several probes: the subscription survives them
  server.Freeze();
  REQUIRE(heard.Eventually([&] { return heard.lost >= 1; }));
  server.Thaw();
  const int before = heard.connected;
  REQUIRE(heard.Eventually([&] { return heard.connected > before; }));
}

TEST_CASE("A subscriber ends at once, connected or not", "[redis]") {
  testing::RedisServer server;
  Heard heard;
  for (const bool alive : {true, false}) {
    if (!alive) server.Kill();
    auto subscriber = Subscriber::Start(OptionsFor(server.url()), {"c"}, heard.Callbacks()).value();
    const auto begin = std::chrono::steady_clock::now();
    subscriber.reset();
    CHECK(std::chrono::steady_clock::now() - begin < 5s);
  }
}

}  // namespace
}  // namespace weft::redis
