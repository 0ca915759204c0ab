#include "libs/redis/client.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "libs/base/status.h"
#include "libs/redis/url.h"
#include "tests/support/catch.h"
#include "tests/support/redis_server.h"

namespace weft::redis {
namespace {

using namespace std::chrono_literals;
using testing::RedisServer;

Options OptionsFor(const std::string& url) {
  Options out;
  out.endpoint = ParseUrl(url).value();
  out.timeout = 10s;  // a loaded machine; tests of deadlines set their own
  out.connect_timeout = 10s;
  out.min_retry = 5ms;
  out.max_retry = 20ms;
  return out;
}

std::unique_ptr<Client> Open(const std::string& url) {
  return Client::Create(OptionsFor(url)).value();
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

TEST_CASE("A client keeps and gives back any bytes, over TCP and over a socket", "[redis]") {
  RedisServer server;
  const std::string bytes("a\0b\r\n$5\r\n\xff", 10);
  for (const std::string& url : {server.url(), server.unix_url()}) {
    auto client = Open(url);
    REQUIRE(client->up());
    CHECK(client->Run({"SET", "key", bytes}).value().text == "OK");
    CHECK(client->Run({"GET", "key"}).value().text == bytes);
    CHECK(client->Run({"GET", "absent"}).value().nil());
    CHECK(client->Run({"INCRBY", url, "41"}).value().integer == 41);
  }
}

TEST_CASE("Large values pass whole, and an answer beyond the bound is an error", "[redis]") {
  RedisServer server;
  auto client = Open(server.unix_url());
  const std::string large(3'000'000, 'x');
  REQUIRE(client->Run({"SET", "key", large}).ok());
  CHECK(client->Run({"GET", "key"}).value().text == large);
  Options options = OptionsFor(server.unix_url());
  options.max_reply_bytes = 100'000;
  auto bounded = Client::Create(options).value();
  CHECK(bounded->Run({"GET", "key"}).status().code() == absl::StatusCode::kResourceExhausted);
  CHECK(bounded->Run({"PING"}).value().text == "PONG");
}

TEST_CASE("A pipeline answers in order and keeps errors in their place", "[redis]") {
  RedisServer server;
  auto client = Open(server.url());
  const std::vector<std::string_view> set = {"SET", "a", "1"}, bad = {"LPUSH", "a", "x"},
                                      get = {"GET", "a"};
  const std::vector<Command> commands = {set, bad, get};
  const auto replies = client->Pipeline(commands).value();
  REQUIRE(replies.size() == 3);
  CHECK(replies[0].text == "OK");
  CHECK(replies[1].error());
  CHECK(replies[2].text == "1");
  CHECK(client->Run(bad).status().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("A script runs by name, also after the server forgot it", "[redis]") {
  RedisServer server;
  auto client = Open(server.url());
  const Script script("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}");
  const std::vector<std::string> keys = {"n"}, arguments = {"x"};
  for (int i = 1; i <= 4; ++i) {
    if (i == 3) REQUIRE(client->Run({"SCRIPT", "FLUSH"}).ok());
    const Reply reply = client->Eval(script, keys, arguments).value();
    REQUIRE(reply.items.size() == 3);
    CHECK(reply.items[0].text == "n");
    CHECK(reply.items[1].text == "x");
    CHECK(reply.items[2].integer == i);
  }
  CHECK(client->Run({"EXISTS", "n"}).value().integer == 1);
}

TEST_CASE("The password of the URL signs in, and a wrong one is said to be wrong", "[redis]") {
  RedisServer server({.password = "hunter2"});
  CHECK(Open(server.url())->Run({"PING"}).ok());
  auto wrong = Open("redis://:nope@127.0.0.1:" + std::to_string(server.port()));
  CHECK_FALSE(wrong->up());
  CHECK(wrong->status().code() == absl::StatusCode::kPermissionDenied);
  CHECK(Message(wrong->status()).find("nope") == std::string_view::npos);
  auto none = Open("redis://127.0.0.1:" + std::to_string(server.port()));
  CHECK(none->status().code() == absl::StatusCode::kPermissionDenied);
}

TEST_CASE("The database of the URL is chosen on every connection", "[redis]") {
  RedisServer server;
  auto first = Open(server.url() + "/0");
  auto second = Open(server.url() + "/5");
  REQUIRE(second->Run({"SET", "only", "in five"}).ok());
  CHECK(first->Run({"GET", "only"}).value().nil());
  CHECK(second->Run({"GET", "only"}).value().text == "in five");
}

TEST_CASE("TLS verifies the server, presents a certificate and carries data", "[redis]") {
  RedisServer server({.tls = true, .password = "pw"});
  Options options = OptionsFor(server.url());
  options.tls.ca_file = server.folder() + "/ca.pem";
  options.tls.certificate_file = server.folder() + "/client.pem";
  options.tls.key_file = server.folder() + "/client.key";
  auto client = Client::Create(options).value();
  REQUIRE(client->status() == absl::OkStatus());
  const std::string large(500'000, 'y');
  REQUIRE(client->Run({"SET", "key", large}).ok());
  CHECK(client->Run({"GET", "key"}).value().text == large);
  CHECK(client->Run({"PING"}).ok());  // the same connection is good again

  SECTION("another name is refused") {
    options.tls.server_name = "redis.example";
    CHECK(Client::Create(options).value()->status().code() == absl::StatusCode::kPermissionDenied);
  }
  SECTION("an authority that nobody trusts is refused") {
    options.tls.ca_file.clear();
    CHECK(Client::Create(options).value()->status().code() == absl::StatusCode::kPermissionDenied);
  }
  SECTION("without a certificate the server refuses") {
    options.tls.certificate_file.clear();
    options.tls.key_file.clear();
    CHECK_FALSE(Client::Create(options).value()->up());
  }
  SECTION("files that are not there are named") {
    options.tls.ca_file = "/nowhere/ca.pem";
    const auto made = Client::Create(options);
    CHECK(made.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK_THAT(std::string(Message(made.status())), ContainsSubstring("/nowhere/ca.pem"));
  }
}

TEST_CASE("A server that is away is an error at once, and found again by itself", "[redis]") {
  RedisServer server;
  std::atomic<int> connects{0};
  Options options = OptionsFor(server.url());
  options.hooks.connect = [&](const absl::Status&) { ++connects; };
  auto client = Client::Create(options).value();
  REQUIRE(client->Run({"PING"}).ok());
  server.Kill();
  CHECK(client->Run({"PING"}).status().code() == absl::StatusCode::kUnavailable);
  REQUIRE(Eventually([&] { return !client->up(); }));
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) {
    CHECK(client->Run({"PING"}).status().code() == absl::StatusCode::kUnavailable);
  }
  CHECK(std::chrono::steady_clock::now() - begin < 5s);  // no call waited for its timeout
  server.Restart();
  REQUIRE(Eventually([&] { return client->up(); }));
  CHECK(client->Run({"PING"}).ok());
  CHECK(connects >= 2);
}

TEST_CASE("A server that was restarted between two calls costs no call", "[redis]") {
  RedisServer server;
  auto client = Open(server.url());
  for (int i = 0; i < 3; ++i) {
    REQUIRE(client->Run({"PING"}).ok());
    server.Kill();
    server.Restart();
  }
}

TEST_CASE("A client may be made before its server is there", "[redis]") {
  RedisServer server;
  server.Kill();
  auto client = Open(server.url());
  CHECK_FALSE(client->up());
  CHECK(client->Run({"PING"}).status().code() == absl::StatusCode::kUnavailable);
  server.Restart();
  REQUIRE(Eventually([&] { return client->up(); }));
  CHECK(client->Run({"PING"}).ok());
}

TEST_CASE("A server that does not answer costs one deadline, then nothing", "[redis]") {
  RedisServer server;
  Options options = OptionsFor(server.url());
  options.timeout = 50ms;
  auto client = Client::Create(options).value();
  REQUIRE(Eventually([&] { return client->Run({"SET", "a", "1"}).ok(); }));
  server.Freeze();
  const auto begin = std::chrono::steady_clock::now();
  CHECK(client->Run({"GET", "a"}).status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(std::chrono::steady_clock::now() - begin >= 50ms);
  CHECK(client->Run({"GET", "a"}).status().code() == absl::StatusCode::kUnavailable);
  server.Thaw();
  // The late answer belongs to nobody: another question gets its own.
  REQUIRE(Eventually([&] {
    auto reply = client->Run({"ECHO", "mine"});
    return reply.ok() && reply->text == "mine";
  }));
}

TEST_CASE("Threads share a few connections, and each gets its own answers", "[redis]") {
  RedisServer server;
  Options options = OptionsFor(server.unix_url());
  options.connections = 3;
  auto client = Client::Create(options).value();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const std::string text = std::to_string(t) + "/" + std::to_string(i);
        auto reply = client->Run({"ECHO", text});
        if (!reply.ok() || reply->text != text) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  const std::string clients = client->Run({"CLIENT", "LIST"}).value().text;
  CHECK(std::count(clients.begin(), clients.end(), '\n') <= 3);
}

TEST_CASE("Killed and restarted again and again, answers never go to the wrong caller", "[redis]") {
  RedisServer server;
  auto client = Open(server.url());
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0}, right{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; !stop; ++i) {
        const std::string text = std::to_string(t) + "/" + std::to_string(i);
        auto reply = client->Run({"ECHO", text});
        if (reply.ok()) ++(reply->text == text ? right : wrong);
        if (!reply.ok()) std::this_thread::sleep_for(1ms);
      }
    });
  }
  for (int i = 0; i < 4; ++i) {
    const int before = right;
    CHECK(Eventually([&] { return right > before + 50; }));
    server.Kill();
    server.Restart();
  }
  const int before = right;
  CHECK(Eventually([&] { return right > before + 50; }));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("Hooks hear of every command with its name, time and outcome", "[redis]") {
  RedisServer server;
  Options options = OptionsFor(server.url());
  std::vector<std::string> heard;
  options.hooks.command = [&](std::string_view name, std::chrono::nanoseconds took,
                              const absl::Status& status) {
    CHECK(took > 0ns);
    heard.push_back(std::string(name) + (status.ok() ? " ok" : " failed"));
  };
  auto client = Client::Create(options).value();
  client->Run({"SET", "a", "1"}).IgnoreError();
  client->Run({"LPUSH", "a", "1"}).IgnoreError();
  CHECK(heard == std::vector<std::string>{"SET ok", "LPUSH failed"});
}

TEST_CASE("Options that make no sense are refused by name", "[redis]") {
  Options options;
  options.connections = 0;
  CHECK(Client::Create(options).status().code() == absl::StatusCode::kInvalidArgument);
  options = {};
  options.tls.key_file = "only-a-key";
  CHECK(Client::Create(options).status().code() == absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace weft::redis
