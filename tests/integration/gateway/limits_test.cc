// Limits and usage of whole gateways, in one process and over a real Redis.
#include <algorithm>
#include <atomic>
#include <thread>

#include "libs/base/status.h"
#include "services/gateway/usage_store.h"
#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/redis_server.h"
#include "weft/v1/scheduler.pb.h"

namespace weft {
namespace {

using namespace std::chrono_literals;
using gateway::LimitOverride;
using gateway::LimitScope;
using nlohmann::json;
using test::ChatBody;
using test::GatewayFixture;
using test::RawHttp;

gateway::ScopeLimits& ScopeOf(gateway::Config& config, LimitScope scope) {
  return config.traffic.limits.scopes[static_cast<size_t>(scope)];
}

std::string MakeKey(GatewayFixture& f, const json& more = json::object()) {
  json body = {{"name", "k"}, {"requests_per_minute", 1'000'000}};
  body.update(more);
  const auto made = f.Post("/v1/keys", body);
  REQUIRE(made.status == 201);
  return "X-API-Key: " + json::parse(made.body)["secret"].get<std::string>() + "\r\n";
}

std::string CodeOf(const RawHttp::Answer& answer) {
  return json::parse(answer.body)["error"]["code"].get<std::string>();
}

// The rows of a gateway's database, once everything that ended is there.
std::vector<json> UsageRows(GatewayFixture& f, size_t at_least) {
  auto database = store::Database::Open(f.config.database).value();
  std::vector<json> out;
  f.WaitFor(
      [&] {
        const auto found = database->ReadOne(
            store::Scope::System(),
            "SELECT tenant, outcome, prompt_tokens, completion_tokens, cost_micros, endpoint, "
            "cached, user_id, id FROM usage_records ORDER BY created_at_us",
            {});
        out.clear();
        for (const auto& row : found.value().rows) {
          out.push_back({{"tenant", row.Text(0)},
                         {"outcome", row.Text(1)},
                         {"prompt", row.Int(2)},
                         {"completion", row.Int(3)},
                         {"cost", row.Int(4)},
                         {"endpoint", row.Text(5)},
                         {"cached", row.Int(6)},
                         {"user", row.Text(7)},
                         {"id", row.Text(8)}});
        }
        return out.size() >= at_least;
      },
      "rows of usage");
  return out;
}

TEST_CASE("A tenant's limit holds for all its keys, and is named in the answer", "[limits]") {
  GatewayFixture f([](auto& config) {
    config.traffic.limits.overrides.push_back({.scope = LimitScope::kTenant,
                                               .name = "acme",
                                               .limits = {.requests_per_minute = 3},
                                               .priority = {}});
  });
  const std::string one = MakeKey(f, {{"tenant", "acme"}});
  const std::string two = MakeKey(f, {{"tenant", "acme"}});
  const std::string other = MakeKey(f, {{"tenant", "other"}});
  CHECK(f.Get("/v1/models", one).status == 200);
  CHECK(f.Post("/v1/chat/completions", ChatBody("words 1"), two).status == 200);
  const auto third = f.Post("/generate", {{"prompt", "x"}}, one);
  REQUIRE(third.status == 200);
  CHECK(third.Header("RateLimit").rfind("\"tenant-requests\";r=0;", 0) == 0);
  CHECK(third.Header("RateLimit-Policy") == "\"tenant-requests\";q=3;w=60");
  const auto refused = f.Post("/v1/chat/completions", ChatBody("words 1"), two);
  REQUIRE(refused.status == 429);
  CHECK(CodeOf(refused) == "rate_limit_exceeded");
  CHECK(std::stoi(refused.Header("Retry-After")) >= 1);
  CHECK(refused.Header("RateLimit-Policy") == "\"tenant-requests\";q=3;w=60");
  CHECK(f.Post("/v1/chat/completions", ChatBody("words 1"), other).status == 200);
  CHECK(f.Metric("weft_limit_refusals_total{policy=\"tenant-requests\"}") == 1);
}

TEST_CASE("Requests, models, addresses and end users have limits of their own", "[limits]") {
  GatewayFixture f([](auto& config) {
    ScopeOf(config, LimitScope::kModel).requests_per_minute = 100;
    ScopeOf(config, LimitScope::kUser).requests_per_minute = 2;
    config.traffic.limits.overrides.push_back({.scope = LimitScope::kAddress,
                                               .name = "127.0.0.9",
                                               .limits = {.requests_per_minute = 1},
                                               .priority = {}});
  });
  const json mine = {{"user", "ann"}};
  for (int i = 0; i < 2; ++i) {
    CHECK(f.Post("/v1/chat/completions", ChatBody("words 1", mine)).status == 200);
  }
  const auto refused = f.Post("/v1/chat/completions", ChatBody("words 1", mine));
  CHECK(refused.status == 429);
  CHECK(refused.Header("RateLimit").rfind("\"user-requests\"", 0) == 0);
  CHECK(f.Post("/v1/chat/completions", ChatBody("words 1", {{"user", "bob"}})).status == 200);
  const auto from = [&](const char* source) {
    return test::HttpRequest(f.server->http_port(), "GET", "/v1/models", {}, f.Auth(), source)
        .status;
  };
  CHECK(from("127.0.0.9") == 200);
  CHECK(from("127.0.0.9") == 429);
  CHECK(from("127.0.0.8") == 200);
}

TEST_CASE("Tokens are taken by estimate and settled by what was made", "[limits]") {
  GatewayFixture f([](auto& config) { ScopeOf(config, LimitScope::kKey).tokens_per_minute = 100; });
  // "words 3" is 7 bytes: with its message an estimate of 6, and 80 for the answer.
  const auto first = f.Post("/v1/chat/completions", ChatBody("words 3", {{"max_tokens", 80}}));
  REQUIRE(first.status == 200);
  CHECK(first.Header("x-ratelimit-limit-tokens") == "100");
  CHECK(first.Header("x-ratelimit-remaining-tokens") == "14");
  // 10 were used: the estimate of another fits again.
  CHECK(f.Post("/v1/chat/completions", ChatBody("words 3", {{"max_tokens", 80}})).status == 200);
  const auto large = f.Post("/v1/chat/completions", ChatBody("words 3", {{"max_tokens", 200}}));
  CHECK(large.status == 429);
  CHECK(CodeOf(large) == "request_too_large");
  CHECK(large.Header("Retry-After").empty());
  // Fails before any token: nothing is taken.
  CHECK(f.Post("/v1/chat/completions", ChatBody("error 14 away", {{"max_tokens", 70}})).status ==
        503);
  CHECK(f.Post("/v1/chat/completions", ChatBody("words 3", {{"max_tokens", 70}})).status == 200);
}

TEST_CASE("Streams that run hold their places, and give them back when they end", "[limits]") {
  GatewayFixture f([](auto& config) { ScopeOf(config, LimitScope::kKey).concurrent = 2; });
  std::vector<std::unique_ptr<RawHttp>> streams;
  for (int i = 0; i < 2; ++i) {
    streams.push_back(std::make_unique<RawHttp>(f.server->http_port()));
    streams.back()->Send(
        f.RequestBytes("/v1/chat/completions", ChatBody("slow 1000 20", {{"stream", true}})));
    REQUIRE(streams.back()->ReadUntil("w1").find("200 OK") != std::string::npos);
  }
  const auto refused = f.Post("/v1/chat/completions", ChatBody("words 1"));
  CHECK(refused.status == 429);
  CHECK(CodeOf(refused) == "concurrency_limit_exceeded");
  CHECK(f.Get("/v1/models").status == 200);
  streams.pop_back();
  f.WaitFor([&] { return f.Post("/v1/chat/completions", ChatBody("words 1")).status == 200; },
            "a place");
}

TEST_CASE("All requests together have a limit by default", "[limits]") {
  const gateway::LimitsConfig defaults;
  CHECK(defaults.scopes[0].requests_per_minute == 1000);
  CHECK(defaults.scopes[0].concurrent == 50);
  GatewayFixture f(
      [](auto& config) { ScopeOf(config, LimitScope::kGlobal).requests_per_minute = 5; });
  std::vector<int> statuses;
  for (int i = 0; i < 100; ++i) statuses.push_back(f.Get("/v1/models").status);
  CHECK(std::count(statuses.begin(), statuses.end(), 200) == 5);
  CHECK(std::count(statuses.begin(), statuses.end(), 429) == 95);
}

TEST_CASE("A tenant's weight and priority reach the scheduler", "[limits]") {
  GatewayFixture f([](auto& config) {
    config.traffic.limits.overrides.push_back({.scope = LimitScope::kTenant,
                                               .name = "acme",
                                               .limits = {},
                                               .weight = 4,
                                               .priority = "high"});
  });
  const std::string acme = MakeKey(f, {{"tenant", "acme"}});
  f.Post("/v1/chat/completions", ChatBody("words 1"), acme);
  f.Post("/v1/chat/completions", ChatBody("words 1", {{"service_tier", "flex"}}), acme);
  f.Post("/v1/chat/completions", ChatBody("words 1"));
  std::vector<v1::Submit> submits(3);
  for (int i = 0; i < 3; ++i) REQUIRE(submits[i].ParseFromString(f.schedulers[0]->submits().at(i)));
  CHECK(submits[0].share_key() == "acme");
  CHECK(submits[0].weight() == 4);
  CHECK(submits[0].priority() == 1);
  CHECK(submits[1].priority() == -1);  // it asked
  CHECK(submits[2].weight() == 0);
  CHECK(submits[2].priority() == 0);
}

TEST_CASE("Every request leaves one row of usage, whatever became of it", "[limits]") {
  GatewayFixture f([](auto& config) {
    config.traffic.usage.prices = {
        {.model = "fake", .prompt = 2, .cached_prompt = 1, .completion = 10}};
  });
  REQUIRE(f.Post("/v1/chat/completions", ChatBody("words 3", {{"user", "ann"}})).status == 200);
  REQUIRE(f.Post("/v1/chat/completions", ChatBody("words 2", {{"stream", true}})).status == 200);
  REQUIRE(f.Post("/generate", {{"prompt", "words 4"}}).status == 200);
  REQUIRE(f.Post("/v1/chat/completions", ChatBody("error 14 away")).status == 503);
  f.Post("/v1/chat/completions", ChatBody("late 13 3", {{"stream", true}}));
  {
    RawHttp cut(f.server->http_port());
    cut.Send(f.RequestBytes("/v1/chat/completions", ChatBody("slow 1000 10", {{"stream", true}})));
    cut.ReadUntil("w4");
  }
  const auto rows = UsageRows(f, 6);
  REQUIRE(rows.size() == 6);
  CHECK(rows[0]["outcome"] == "stop");
  CHECK(rows[0]["completion"] == 3);
  CHECK(rows[0]["prompt"] == 7);
  CHECK(rows[0]["cost"] == 4 * 2 + 3 * 1 + 3 * 10);  // 3 of the prompt were cached
  CHECK(rows[0]["user"] == "ann");
  CHECK(rows[0]["endpoint"] == "/v1/chat/completions");
  CHECK(rows[0]["tenant"] == "default");
  CHECK(rows[1]["completion"] == 2);
  CHECK(rows[2]["endpoint"] == "/generate");
  CHECK(rows[2]["completion"] == 4);
  CHECK(rows[3]["outcome"] == "error");
  CHECK(rows[3]["completion"] == 0);
  CHECK(rows[4]["outcome"] == "error");
  CHECK(rows[4]["completion"] == 3);
  CHECK(rows[5]["outcome"] == "cancelled");
  CHECK(rows[5]["completion"] >= 5);  // what was made is counted
  CHECK(rows[5]["completion"] < 900);
  CHECK(f.Metric("weft_inference_cost_total{model_id=\"fake\"}") > 0);
  auto database = store::Database::Open(f.config.database).value();
  const auto sums =
      database
          ->ReadOne(store::Scope::System(),
                    "SELECT SUM(requests), SUM(completion_tokens), SUM(cost_micros) FROM "
                    "usage_daily",
                    {})
          .value();
  int64_t completion = 0, cost = 0;
  for (const json& row : rows) {
    completion += row["completion"].get<int64_t>();
    cost += row["cost"].get<int64_t>();
  }
  CHECK(sums.rows[0].Int(0) == 6);
  CHECK(sums.rows[0].Int(1) == completion);
  CHECK(sums.rows[0].Int(2) == cost);
}

TEST_CASE("Rows that come twice are counted once, and quotas begin with the month's sum",
          "[limits]") {
  test::TempDir dir;
  std::shared_ptr<store::Database> database =
      gateway::OpenDatabase(dir.File("x.db"), gateway::StoreConfig()).value();
  gateway::DatabaseUsageStore kept(database);
  std::vector<usage::UsageRow> rows(3);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].id = std::to_string(i);
    rows[i].tenant = "acme";
    rows[i].key_id = "k1";
    rows[i].user = i == 0 ? "a:nn" : "";
    rows[i].project = "web";
    rows[i].model = "m";
    rows[i].outcome = "stop";
    rows[i].prompt_tokens = 10;
    rows[i].completion_tokens = 5;
    rows[i].cost_micros = 100;
    rows[i].created_at_us = 1'795'000'000'000'000;  // 2026-11-18
  }
  rows[2].cached = true;
  rows[2].cost_micros = 0;
  REQUIRE(kept.Write(rows).ok());
  REQUIRE(kept.Write(rows).ok());
  const auto used = [&](const char* key) {
    return kept.UsedSoFar({.key = key, .policy = "x"}).value();
  };
  CHECK(used("t:acme:tok:2026-11") == 30);
  CHECK(used("t:acme:cost:2026-11") == 200);
  CHECK(used("t:acme:tok:2026-10") == 0);
  CHECK(used("t:other:tok:2026-11") == 0);
  CHECK(used("k:k1:tok:2026-11") == 30);
  CHECK(used("u:acme:a:nn:tok:2026-11") == 15);
  CHECK(used("t:acme:req:2026-11-18") == 3);
  CHECK(used("t:acme:req:2026-11-17") == 0);
  CHECK(used("n:acme:m:cost:2026-11") == 200);
  CHECK(used("n:acme:other:req:2026-11") == 0);
  CHECK(used("p:acme:web:tok:2026-11") == 30);
  CHECK(used("p:acme:shop:tok:2026-11") == 0);
  CHECK_FALSE(kept.UsedSoFar({.key = "rubbish", .policy = "x"}).ok());
}

TEST_CASE("A monthly quota warns, ends requests, and outlives the gateway", "[limits]") {
  test::TempDir dir;
  const auto adjust = [&](gateway::Config& config) {
    config.database = dir.File("gateway.db");
    config.admin_key_file = dir.File("admin.key");
    ScopeOf(config, LimitScope::kTenant).tokens_per_month = 100;
    config.traffic.limits.soft_quota = 0.5;
  };
  const json body = ChatBody("words 20", {{"max_tokens", 20}});
  {
    GatewayFixture f(adjust);
    CHECK(f.Post("/v1/chat/completions", body).Header("X-Weft-Quota").empty());
    const auto second = f.Post("/v1/chat/completions", body);
    REQUIRE(second.status == 200);
    CHECK(second.Header("X-Weft-Quota").rfind("\"tenant-tokens-month\";used=5", 0) == 0);
    UsageRows(f, 2);
  }
  GatewayFixture f(adjust);
  REQUIRE(f.Post("/v1/chat/completions", body).status == 200);
  const auto refused = f.Post("/v1/chat/completions", body);
  REQUIRE(refused.status == 429);
  CHECK(CodeOf(refused) == "insufficient_quota");
  CHECK(std::stoi(refused.Header("Retry-After")) >= 1);
  CHECK(f.Get("/v1/models").status == 200);
}

// Gateways that share a Redis.
struct Shared {
  explicit Shared(int count, limits::WhenAway when_away = limits::WhenAway::kLocal,
                  int64_t per_minute = 50) {
    for (int i = 0; i < count; ++i) {
      gateways.push_back(std::make_unique<GatewayFixture>([&](auto& config) {
        config.traffic.redis.url = redis.unix_url();
        config.traffic.redis.timeout = 10s;
        config.traffic.limits.redis_down = when_away;
        ScopeOf(config, LimitScope::kTenant).requests_per_minute = per_minute;
      }));
    }
  }
  testing::RedisServer redis;
  std::vector<std::unique_ptr<GatewayFixture>> gateways;
};

TEST_CASE("Three gateways over one Redis admit exactly what the limit says", "[limits]") {
  Shared s(3);
  std::atomic<int> admitted{0}, refused{0};
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (auto& gateway : s.gateways) {
    threads.emplace_back([&, f = gateway.get()] {
      for (int i = 0; i < 60; ++i) {
        const int status = f->Get("/v1/models").status;
        if (status == 200) ++admitted;
        if (status == 429) ++refused;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  CHECK(admitted + refused == 180);
  CHECK(admitted >= 50);
  CHECK(admitted <= 50 + static_cast<int>(took.count() * 50 / 60) + 1);  // and what came back
}

TEST_CASE("A gateway without its Redis counts by itself, or refuses, and comes back", "[limits]") {
  const bool refuse = GENERATE(false, true);
  Shared s(1, refuse ? limits::WhenAway::kRefuse : limits::WhenAway::kLocal, 1'000'000);
  GatewayFixture& f = *s.gateways[0];
  REQUIRE(f.Post("/v1/chat/completions", ChatBody("words 1")).status == 200);
  CHECK(f.Metric("weft_redis_up") == 1);
  s.redis.Kill();
  const auto away = f.Post("/v1/chat/completions", ChatBody("words 1"));
  CHECK(away.status == (refuse ? 503 : 200));
  if (refuse) CHECK(CodeOf(away) == "limits_unavailable");
  CHECK(f.Get("/health").status == 200);
  s.redis.Restart();
  f.WaitFor([&] { return f.Metric("weft_redis_up") == 1; }, "Redis");
  CHECK(f.Post("/v1/chat/completions", ChatBody("words 1")).status == 200);
}

}  // namespace
}  // namespace weft
