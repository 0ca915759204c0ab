// The response cache of whole gateways.
#include <algorithm>
#include <atomic>
#include <thread>

#include "services/gateway/answer_cache.h"
#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/redis_server.h"

namespace weft {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using test::ChatBody;
using test::Events;
using test::GatewayFixture;
using test::RawHttp;

void Enable(gateway::Config& config) { config.cache.enabled = true; }

// Temperature 0: the same request has the same answer.
json Greedy(const std::string& prompt, const json& more = json::object()) {
  json body = ChatBody(prompt, {{"temperature", 0}});
  body.update(more);
  return body;
}

uint64_t Submits(GatewayFixture& f) { return f.schedulers[0]->stats().submits; }

RawHttp::Answer Ask(GatewayFixture& f, const json& body, const std::string& more = "") {
  return f.Post("/v1/chat/completions", body, f.Auth() + more);
}

std::string TextOf(const RawHttp::Answer& answer) {
  return json::parse(answer.body)["choices"][0]["message"]["content"].get<std::string>();
}

std::string StreamedText(const RawHttp::Answer& answer) {
  std::string text;
  for (const json& event : Events(answer.body)) {
    if (event.is_object() && !event["choices"].empty()) {
      text += event["choices"][0]["delta"].value("content", "");
    }
  }
  return text;
}

TEST_CASE("The same request is answered once by the model", "[cache]") {
  GatewayFixture f(Enable);
  const auto first = Ask(f, Greedy("words 5"));
  REQUIRE(first.status == 200);
  CHECK(first.Header("X-Weft-Cache") == "miss");
  CHECK(first.Header("Age").empty());
  const auto second = Ask(f, Greedy("words 5"));
  REQUIRE(second.status == 200);
  CHECK(second.Header("X-Weft-Cache") == "hit");
  CHECK(second.Header("Age") == "0");
  CHECK(TextOf(second) == TextOf(first));
  const json usage = json::parse(second.body)["usage"];
  CHECK(usage["completion_tokens"] == 5);
  CHECK(usage["prompt_tokens"] == 7);
  CHECK(usage["prompt_tokens_details"]["cached_tokens"] == 7);
  CHECK(json::parse(second.body)["id"] != json::parse(first.body)["id"]);
  CHECK(Submits(f) == 1);
  CHECK(f.Metric("weft_cache_requests_total{result=\"hit\"}") == 1);
  CHECK(f.Metric("weft_cache_hit_ratio") == 0.5);
}

TEST_CASE("A hit streams like the original, whoever asked for which form", "[cache]") {
  GatewayFixture f(Enable);
  const json stream = {{"stream", true}, {"stream_options", {{"include_usage", true}}}};
  const auto original = Ask(f, Greedy("words 4", stream));
  REQUIRE(original.Header("X-Weft-Cache") == "miss");
  const auto streamed = Ask(f, Greedy("words 4", stream));
  REQUIRE(streamed.Header("X-Weft-Cache") == "hit");
  CHECK(streamed.Header("Content-Type") == "text/event-stream; charset=utf-8");
  auto before = Events(original.body), after = Events(streamed.body);
  REQUIRE(before.size() == after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    if (!before[i].is_object()) continue;
    for (const char* own : {"id", "created"}) {
      before[i].erase(own);
      after[i].erase(own);
    }
    if (before[i]["usage"].is_object()) {
      CHECK(after[i]["usage"]["completion_tokens"] == before[i]["usage"]["completion_tokens"]);
      continue;
    }
    CHECK(after[i] == before[i]);
  }
  CHECK(TextOf(Ask(f, Greedy("words 4"))) == "w0 w1 w2 w3");
  CHECK(Submits(f) == 1);
}

TEST_CASE("Only what has one answer is kept, unless the client says otherwise", "[cache]") {
  GatewayFixture f(Enable);
  for (int i = 0; i < 2; ++i) {
    CHECK(Ask(f, ChatBody("words 1")).Header("X-Weft-Cache") == "bypass");
  }
  CHECK(Submits(f) == 2);
  CHECK(Ask(f, ChatBody("words 2", {{"seed", 7}})).Header("X-Weft-Cache") == "miss");
  CHECK(Ask(f, ChatBody("words 2", {{"seed", 7}})).Header("X-Weft-Cache") == "hit");
  CHECK(Ask(f, ChatBody("words 2", {{"seed", 8}})).Header("X-Weft-Cache") == "miss");
  const std::string on = "X-Weft-Cache: on\r\n";
  CHECK(Ask(f, ChatBody("words 3"), on).Header("X-Weft-Cache") == "miss");
  CHECK(Ask(f, ChatBody("words 3"), on).Header("X-Weft-Cache") == "hit");
  CHECK(Ask(f, ChatBody("words 3")).Header("X-Weft-Cache") == "bypass");
}

TEST_CASE("Cache-Control of a request is obeyed", "[cache]") {
  GatewayFixture f(Enable);
  const auto state = [&](const std::string& control) {
    return Ask(f, Greedy("words 2"), "Cache-Control: " + control + "\r\n").Header("X-Weft-Cache");
  };
  CHECK(state("no-store") == "bypass");
  const auto missing = Ask(f, Greedy("words 2"), "Cache-Control: only-if-cached\r\n");
  CHECK(missing.status == 504);
  CHECK(json::parse(missing.body)["error"]["code"] == "not_cached");
  CHECK(state("max-age=60") == "miss");
  CHECK(state("max-age=60") == "hit");
  CHECK(state("only-if-cached") == "hit");
  CHECK(state("no-cache") == "miss");
  CHECK(state("max-age=rubbish") != "");
  CHECK(state("x, NO-CACHE ,y=1") == "miss");
  CHECK(state("private") == "hit");
}

TEST_CASE("What decides about the answer makes another key, what does not makes none", "[cache]") {
  GatewayFixture f(Enable);
  CHECK(Ask(f, Greedy("words 2")).Header("X-Weft-Cache") == "miss");
  for (const json& more : std::vector<json>{{{"max_tokens", 1}},
                                            {{"stop", "w1"}},
                                            {{"n", 2}},
                                            {{"top_p", 0.5}},
                                            {{"logprobs", true}},
                                            {{"frequency_penalty", 1}},
                                            {{"logit_bias", {{"5", 1}}}}}) {
    INFO(more.dump());
    CHECK(Ask(f, Greedy("words 2", more)).Header("X-Weft-Cache") == "miss");
    CHECK(Ask(f, Greedy("words 2", more)).Header("X-Weft-Cache") == "hit");
  }
  for (const json& more :
       std::vector<json>{{{"user", "ann"}}, {{"stream", true}}, {{"service_tier", "flex"}}}) {
    INFO(more.dump());
    CHECK(Ask(f, Greedy("words 2", more)).Header("X-Weft-Cache") == "hit");
  }
  // The same text with another split into messages, or as a plain prompt, is another request.
  json two = Greedy("words 2");
  two["messages"].push_back({{"role", "user"}, {"content", "words 2"}});
  CHECK(Ask(f, two).Header("X-Weft-Cache") == "miss");
  CHECK(f.Post("/v1/completions", {{"model", "fake"}, {"prompt", "words 2"}, {"temperature", 0}})
            .Header("X-Weft-Cache") == "miss");
}

TEST_CASE("Tenants never see each other's answers", "[cache]") {
  GatewayFixture f(Enable);
  const json key = json::parse(f.Post("/v1/keys", {{"name", "k"}, {"tenant", "acme"}}).body);
  const std::string acme = "X-API-Key: " + key["secret"].get<std::string>() + "\r\n";
  CHECK(Ask(f, Greedy("words 2")).Header("X-Weft-Cache") == "miss");
  const auto theirs = f.Post("/v1/chat/completions", Greedy("words 2"), acme);
  CHECK(theirs.Header("X-Weft-Cache") == "miss");
  CHECK(f.Post("/v1/chat/completions", Greedy("words 2"), acme).Header("X-Weft-Cache") == "hit");
  CHECK(Submits(f) == 2);
}

TEST_CASE("Failed, cut and blocked answers are not kept", "[cache]") {
  GatewayFixture f(Enable);
  for (const char* prompt : {"error 14 away", "late 13 3"}) {
    for (int i = 0; i < 2; ++i) {
      const auto answer = Ask(f, Greedy(prompt));
      CHECK(answer.status >= 500);
      CHECK(answer.Header("X-Weft-Cache") == "miss");
    }
  }
  {
    RawHttp cut(f.server->http_port());
    cut.Send(f.RequestBytes("/v1/chat/completions", Greedy("slow 500 5", {{"stream", true}})));
    REQUIRE(cut.ReadUntil("w1").find("w1") != std::string::npos);
  }
  f.WaitFor([&] { return f.schedulers[0]->stats().cancels == 1; }, "the cancellation");
  CHECK(f.Metric("weft_cache_entries") == 0);
}

TEST_CASE("A stampede of one request is one generation, and everybody gets all of it", "[cache]") {
  GatewayFixture f(Enable);
  constexpr int kClients = 24;
  std::vector<std::string> texts(kClients);
  std::atomic<int> shared{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] {
      const bool stream = i % 2 == 0;
      const auto answer = Ask(f, Greedy("slow 20 20", {{"stream", stream}}));
      if (answer.status != 200) return;
      shared += answer.Header("X-Weft-Cache") != "miss";
      texts[i] = stream ? StreamedText(answer) : TextOf(answer);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(Submits(f) == 1);
  CHECK(shared == kClients - 1);
  for (const std::string& text : texts) {
    CHECK(text == texts[0]);
    CHECK(text.size() > 40);
  }
}

TEST_CASE("Who asked first may leave, the others still get their answer", "[cache]") {
  GatewayFixture f(Enable);
  const json body = Greedy("slow 40 20", {{"stream", true}});
  auto first = std::make_unique<RawHttp>(f.server->http_port());
  first->Send(f.RequestBytes("/v1/chat/completions", body));
  REQUIRE(first->ReadUntil("w2").find("w2") != std::string::npos);
  RawHttp second(f.server->http_port());
  second.Send(f.RequestBytes("/v1/chat/completions", body));
  REQUIRE(second.ReadUntil("w2").find("coalesced") != std::string::npos);
  first.reset();
  const std::string rest = second.ReadUntil("[DONE]");
  CHECK(rest.find("w39") != std::string::npos);
  CHECK(f.schedulers[0]->stats().cancels == 0);
  CHECK(Ask(f, Greedy("slow 40 20")).Header("X-Weft-Cache") == "hit");
}

TEST_CASE("When the last one leaves the generation ends", "[cache]") {
  GatewayFixture f(Enable);
  const json body = Greedy("slow 1000 20", {{"stream", true}});
  std::vector<std::unique_ptr<RawHttp>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<RawHttp>(f.server->http_port()));
    clients.back()->Send(f.RequestBytes("/v1/chat/completions", body));
    REQUIRE(clients.back()->ReadUntil("w1").find("w1") != std::string::npos);
  }
  clients.clear();
  f.WaitFor([&] { return f.schedulers[0]->stats().cancels == 1; }, "the cancellation");
  CHECK(Submits(f) == 1);
}

TEST_CASE("Administrators drop answers by tenant, model, pattern, or all", "[cache]") {
  GatewayFixture f(Enable);
  const auto fill = [&] { Ask(f, Greedy("words 2")); };
  const auto drop = [&](const json& what) {
    const auto answer = f.Post("/v1/cache/invalidate", what);
    return answer.status == 200 ? json::parse(answer.body)["invalidated"].get<int>()
                                : -answer.status;
  };
  fill();
  CHECK(json::parse(f.Get("/v1/cache").body)["entries"] == 1);
  CHECK(drop({{"tenant", "other"}}) == 0);
  CHECK(drop({{"model", "fake"}, {"tenant", "other"}}) == 0);
  CHECK(Ask(f, Greedy("words 2")).Header("X-Weft-Cache") == "hit");
  for (const json& what : std::vector<json>{{{"tenant", "default"}},
                                            {{"model", "fake"}},
                                            {{"pattern", "code_gen:*:fake:*"}},
                                            {{"all", true}}}) {
    INFO(what.dump());
    CHECK(drop(what) == 1);
    CHECK(Ask(f, Greedy("words 2")).Header("X-Weft-Cache") == "miss");
  }
  CHECK(drop(json::object()) == -400);
  CHECK(drop({{"all", true}, {"model", "x"}}) == -400);
  CHECK(drop({{"al", true}}) == -400);
  const json key = json::parse(f.Post("/v1/keys", {{"name", "k"}}).body);
  const std::string developer = "X-API-Key: " + key["secret"].get<std::string>() + "\r\n";
  CHECK(f.Post("/v1/cache/invalidate", {{"all", true}}, developer).status == 403);
}

TEST_CASE("A hit takes no tokens from limits and costs nothing", "[cache]") {
  GatewayFixture f([](auto& config) {
    config.cache.enabled = true;
    config.traffic.limits.scopes[static_cast<size_t>(gateway::LimitScope::kKey)].tokens_per_minute =
        100;
    config.traffic.usage.prices = {
        {.model = "fake", .prompt = 1, .cached_prompt = 1, .completion = 1}};
  });
  for (int i = 0; i < 10; ++i) {
    CHECK(Ask(f, Greedy("words 20", {{"max_tokens", 30}})).status == 200);
  }
  const auto total = [&] { return json::parse(f.Get("/v1/usage").body)["data"][0]; };
  f.WaitFor([&] { return total()["requests"] == 10; }, "usage");
  CHECK(total()["completion_tokens"] == 20);
  CHECK(total()["cost_micros"] == 27);
}

TEST_CASE("Gateways share answers through Redis, and invalidate them for each other", "[cache]") {
  testing::RedisServer redis;
  const auto adjust = [&](gateway::Config& config) {
    config.cache.enabled = true;
    config.traffic.redis.url = redis.unix_url();
    config.traffic.redis.timeout = 10s;
  };
  GatewayFixture one(adjust), two(adjust);
  Ask(one, Greedy("words 3"));
  two.WaitFor(
      [&] {
        return Ask(two, Greedy("words 3"), "Cache-Control: only-if-cached\r\n").status == 200;
      },
      "the other gateway's answer");
  CHECK(Submits(two) == 0);
  CHECK(one.Post("/v1/cache/invalidate", {{"all", true}}).status == 200);
  two.WaitFor(
      [&] {
        return Ask(two, Greedy("words 3"), "Cache-Control: only-if-cached\r\n").status == 504;
      },
      "the invalidation");
}

TEST_CASE("Cache directives are read as HTTP writes them", "[cache]") {
  const auto one = gateway::ParseCacheDirectives("no-store, Max-Age = 7 ,x=\"y\"", " ON ");
  CHECK(one.no_store);
  CHECK_FALSE(one.no_cache);
  CHECK(one.max_age == 7s);
  CHECK(one.opted_in);
  CHECK(gateway::ParseCacheDirectives("max-age=-1", "").max_age == 0s);
  CHECK(gateway::ParseCacheDirectives("max-age", "").max_age == std::nullopt);
  CHECK(gateway::ParseCacheDirectives(",,only-if-cached,,", "yes").only_if_cached);
  CHECK_FALSE(gateway::ParseCacheDirectives("", "yes").opted_in);
}

}  // namespace
}  // namespace weft
