// Gateways that share a database: what is kept there holds in each of them.
#include <algorithm>
#include <future>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "libs/base/status.h"
#include "libs/store/system_metrics.h"
#include "libs/store/usage_store.h"
#include "services/gateway/store_config.h"
#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/postgres_server.h"

namespace weft {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using test::ChatBody;
using test::GatewayFixture;
using test::HttpRequest;
using test::RawHttp;

// A database and gateways over it.
struct Shared {
  explicit Shared(bool postgres) {
    where = postgres ? test::SharedPostgres().NewDatabase() : dir.File("gateway.db");
  }
  GatewayFixture& Add(const std::function<void(gateway::Config&)>& adjust = {}) {
    gateways.push_back(std::make_unique<GatewayFixture>([&](gateway::Config& config) {
      config.database = where;
      config.store.database.statement = 2min;  // of a loaded machine
      config.traffic.usage.folder = dir.File("usage" + std::to_string(gateways.size()));
      config.admin_key_file = dir.File("admin" + std::to_string(gateways.size()));
      if (adjust) adjust(config);
    }));
    return *gateways.back();
  }

  test::TempDir dir;
  std::string where;
  std::vector<std::unique_ptr<GatewayFixture>> gateways;
};

RawHttp::Answer Ask(GatewayFixture& f, const std::string& method, const std::string& path,
                    const json& body = {}) {
  return HttpRequest(f.server->http_port(), method, path, body.is_null() ? "" : body.dump(),
                     f.Auth() + "Content-Type: application/json\r\n");
}

}  // namespace

TEST_CASE("A quota in the database holds in every gateway as it changes", "[store]") {
  Shared shared(GENERATE(false, true));
  GatewayFixture& a = shared.Add();
  GatewayFixture& b = shared.Add();
  const int made_tenant = Ask(a, "POST", "/v1/admin/tenants", {{"id", "default"}}).status;
  REQUIRE((made_tenant == 201 || made_tenant == 409));
  const auto chat = [](GatewayFixture& f) {
    return f.Post("/v1/chat/completions", ChatBody("words 1"));
  };
  for (int i = 0; i < 3; ++i) REQUIRE(chat(a).status == 200);
  a.WaitFor(
      [&] {
        const auto sums = json::parse(Ask(b, "GET", "/v1/usage").body)["data"];
        return !sums.empty() && sums[0]["requests"] == 3;
      },
      "the usage of three requests");
  const auto made = Ask(
      a, "POST", "/v1/admin/quotas",
      {{"subject_kind", "tenant"}, {"metric", "requests"}, {"period", "day"}, {"hard_limit", 3}});
  REQUIRE(made.status == 201);
  const std::string path = "/v1/admin/quotas/" + json::parse(made.body)["id"].get<std::string>();
  for (GatewayFixture* f : {&a, &b}) {
    RawHttp::Answer refused;
    f->WaitFor([&] { return (refused = chat(*f)).status == 429; }, "the quota");
    CHECK(json::parse(refused.body)["error"]["code"] == "insufficient_quota");
    CHECK(refused.Header("RateLimit-Policy") == "\"tenant-requests-day\";q=3");
    CHECK(std::stoi(refused.Header("Retry-After")) >= 1);
    CHECK(f->Get("/v1/models").status == 200);  // makes no tokens
  }
  REQUIRE(Ask(b, "PATCH", path, {{"hard_limit", 0}, {"soft_limit", 2}}).status == 200);
  for (GatewayFixture* f : {&a, &b}) {
    f->WaitFor([&] { return chat(*f).status == 200; }, "a quota that only warns");
    CHECK(chat(*f).Header("X-Weft-Quota").rfind("\"tenant-requests-day\";used=", 0) == 0);
  }
  REQUIRE(Ask(b, "DELETE", path).status == 200);
  for (GatewayFixture* f : {&a, &b}) {
    f->WaitFor([&] { return chat(*f).Header("X-Weft-Quota").empty(); }, "no quota");
  }
}

namespace {

std::vector<json> Export(GatewayFixture& f, const std::string& path, const std::string& type) {
  const auto answer = Ask(f, "GET", path);
  INFO(answer.body);
  REQUIRE(answer.status == 200);
  std::vector<json> out;
  std::istringstream lines(answer.body);
  for (std::string line; std::getline(lines, line);) {
    json record = json::parse(line);
    if (record["type"] == type) out.push_back(std::move(record));
  }
  return out;
}

int64_t Count(store::Database& database, const std::string& sql) {
  return database.ReadOne(store::Scope::System(), sql, {}).value().rows.at(0).Int(0);
}

}  // namespace

TEST_CASE("Prompts are kept where it is asked for: sealed, exported, erased, and gone in time",
          "[store]") {
  Shared shared(GENERATE(false, true));
  GatewayFixture& f = shared.Add([](gateway::Config& config) {
    config.store.master_keys = "a:" + std::string(64, '7');
    config.store.retention.interval = 1s;
  });
  const int made_tenant = Ask(f, "POST", "/v1/admin/tenants", {{"id", "default"}}).status;
  REQUIRE((made_tenant == 201 || made_tenant == 409));
  const auto user = Ask(f, "POST", "/v1/admin/users?tenant=default", {{"username", "ann"}});
  REQUIRE(user.status == 201);
  const std::string ann = json::parse(user.body)["id"].get<std::string>();
  const auto chat = [&](const std::string& prompt, const std::string& who) {
    return f.Post("/v1/chat/completions", ChatBody(prompt, {{"user", who}}));
  };
  auto database = store::Database::Open(shared.where).value();
  const std::string count = "SELECT COUNT(*) FROM secrets WHERE kind = 'prompt'";
  REQUIRE(chat("words 2", "ann").status == 200);

  const auto wrong =
      Ask(f, "POST", "/v1/admin/settings", {{"id", "prompts"}, {"value", {{"days", "many"}}}});
  CHECK(wrong.status == 400);
  CHECK(json::parse(wrong.body)["error"]["param"] == "value");
  REQUIRE(
      Ask(f, "POST", "/v1/admin/settings", {{"id", "prompts"}, {"value", {{"days", 30}}}}).status ==
      201);
  f.WaitFor([&] { return chat("words 3", "ann").status == 200 && Count(*database, count) > 0; },
            "a prompt that is kept");
  REQUIRE(chat("words 4", "bob").status == 200);
  REQUIRE(f.Post("/v1/chat/completions", ChatBody("words 5", {{"user", "bob"}, {"stream", true}}))
              .status == 200);
  const auto kept = [&] { return Export(f, "/v1/admin/tenants/default/export", "prompts"); };
  f.WaitFor(
      [&] {
        return std::ranges::any_of(
            kept(), [](const json& one) { return one["prompt"][0]["content"] == "words 5"; });
      },
      "the last prompt");
  bool found = false;
  for (const json& one : kept()) {
    CHECK(one["prompt"][0]["content"] != "words 2");  // before it was asked for
    if (one["prompt"][0]["content"] != "words 5") continue;
    found = true;
    CHECK(one["user"] == "bob");
    CHECK(one["prompt"][0]["role"] == "user");
    CHECK(one["answers"][0].get<std::string>().find("w4") != std::string::npos);
    CHECK(one["outcome"] == "done");
    CHECK(one["cut"] == false);
    CHECK(one["endpoint"] == "/v1/chat/completions");
  }
  CHECK(found);
  const auto rows = database->ReadOne(store::Scope::System(),
                                      "SELECT sealed FROM secrets WHERE kind = 'prompt'", {});
  for (const store::Row& row : rows->rows) {
    CHECK(row.Text(0).find("words") == std::string::npos);
  }
  // Of one person.
  const auto hers = Export(f, "/v1/admin/users/" + ann + "/export?tenant=default", "prompts");
  REQUIRE_FALSE(hers.empty());
  for (const json& one : hers) CHECK(one["user"] == "ann");
  REQUIRE(Ask(f, "POST", "/v1/admin/users/" + ann + "/erase?tenant=default").status == 200);
  for (const json& one : kept()) {
    CHECK(one["user"] == "bob");
  }
  CHECK(Count(*database, count) > 0);
  // Not wanted any more: nothing new, and the next upkeep takes what is there.
  REQUIRE(Ask(f, "PATCH", "/v1/admin/settings/prompts", {{"value", {{"days", 0}}}}).status == 200);
  f.WaitFor([&] { return Count(*database, count) == 0; }, "no prompts");
}

TEST_CASE("A gateway without a master key keeps no prompts, and says so", "[store]") {
  Shared shared(false);
  GatewayFixture& f = shared.Add();
  CHECK(
      Ask(f, "POST", "/v1/admin/settings", {{"id", "prompts"}, {"value", {{"days", 30}}}}).status ==
      400);
  gateway::StoreConfig config;
  CHECK(gateway::Validate(config).ok());
  config.prompts.days = 1;
  CHECK_FALSE(gateway::Validate(config).ok());
  config.master_keys = "a:" + std::string(64, '7');
  CHECK(gateway::Validate(config).ok());
}

TEST_CASE("Old rows go by themselves, by one of the gateways", "[store]") {
  Shared shared(GENERATE(false, true));
  const auto adjust = [](gateway::Config& config) {
    config.store.retention.interval = 1s;
    config.store.retention.usage_days = 90;
    config.store.retention.metrics_days = 5;
    config.store.metrics_interval = 0ms;
  };
  GatewayFixture& a = shared.Add(adjust);
  shared.Add(adjust);
  auto database = store::Database::Open(shared.where).value();
  const int64_t now_us = UnixNanos(Clock::Real().Wall()) / 1000;
  constexpr int64_t kDayUs = INT64_C(86'400'000'000);
  std::vector<store::UsageRecord> records;
  for (int i = 0; i < 300; ++i) {
    records.push_back({.id = "u" + std::to_string(i),
                       .tenant = i % 3 == 0 ? "patient" : "acme",
                       .model = "m",
                       .prompt_tokens = 1,
                       .at_us = now_us - (i < 100 ? 1 : 100) * kDayUs});
  }
  REQUIRE(Ask(a, "POST", "/v1/admin/tenants", {{"id", "patient"}}).status == 201);
  REQUIRE(Ask(a, "POST", "/v1/admin/settings?tenant=patient",
              {{"id", "retention"}, {"value", {{"usage_days", 0}}}})
              .status == 201);
  REQUIRE(store::AddUsage(*database, records).ok());
  REQUIRE(database
              ->Write(store::Scope::System(),
                      [&](store::Session& session) {
                        return store::AddSystemMetrics(
                            session, {{.tenant = {},
                                       .type = "performance",
                                       .name = "throughput",
                                       .value = 1,
                                       .recorded_at = now_us / 1'000'000 - 6 * 86'400}});
                      })
              .ok());
  const auto left = [&](const std::string& tenant) {
    return Count(*database, "SELECT COUNT(*) FROM usage_records WHERE tenant = '" + tenant + "'");
  };
  a.WaitFor(
      [&] {
        return left("acme") == 66 && Count(*database, "SELECT COUNT(*) FROM system_metrics") == 0;
      },
      "old rows to go");
  CHECK(left("patient") == 100);  // it chose so
  CHECK(Count(*database, "SELECT CAST(SUM(requests) AS BIGINT) FROM usage_daily") == 300);
  const auto noted = database
                         ->ReadOne(store::Scope::System(),
                                   "SELECT tenant_id, user_id FROM audit_logs WHERE action = "
                                   "'usage:prune'",
                                   {})
                         .value();
  REQUIRE(noted.rows.size() == 1);
  CHECK(noted.rows[0].Text(0) == "acme");
  CHECK(noted.rows[0].Text(1) == "gateway");
}

TEST_CASE("How the gateways and the tenants do is in system_metrics", "[store]") {
  Shared shared(GENERATE(false, true));
  const auto adjust = [](gateway::Config& config) { config.store.metrics_interval = 200ms; };
  GatewayFixture& a = shared.Add(adjust);
  shared.Add(adjust);
  REQUIRE(Ask(a, "POST", "/v1/admin/tenants", {{"id", "acme"}}).status == 201);
  REQUIRE(Ask(a, "POST", "/v1/admin/projects?tenant=acme", {{"id", "web"}}).status == 201);
  REQUIRE(a.Post("/v1/chat/completions", ChatBody("words 2")).status == 200);
  auto database = store::Database::Open(shared.where).value();
  const auto names = [&](const std::string& tenant) {
    std::map<std::string, std::set<std::string>> out;  // of each type
    const absl::Status status =
        database->Read(store::Scope::System(), [&](store::Session& session) -> absl::Status {
          WEFT_ASSIGN_OR_RETURN(const auto rows,
                                store::ReadSystemMetrics(session, {.tenant = tenant}));
          for (const store::SystemMetric& row : rows) out[row.type].insert(row.name);
          return absl::OkStatus();
        });
    REQUIRE(status.ok());
    return out;
  };
  a.WaitFor(
      [&] {
        const auto of_system = names("");
        const auto found = of_system.find("performance");
        return found != of_system.end() && found->second.contains("response_time_ms") &&
               names("default")["business"].contains("tokens") &&
               names("acme")["business"].contains("active_projects");
      },
      "rows of metrics");
  CHECK(names("")["resources"] ==
        std::set<std::string>{"cpu_usage", "disk_usage", "memory_usage", "network_io"});
  CHECK(names("")["performance"].contains("error_rate"));
  CHECK(names("")["performance"].contains("throughput"));
  CHECK(Count(*database,
              "SELECT COUNT(DISTINCT metadata) FROM system_metrics WHERE metric_name = "
              "'memory_usage'") == 2);  // of each gateway
  CHECK(Count(*database,
              "SELECT COUNT(*) FROM system_metrics WHERE metric_name = 'memory_usage' "
              "AND metric_value < 1000000") == 0);
}

TEST_CASE("Long work of administration does not hold up the rest", "[store]") {
  Shared shared(true);
  GatewayFixture& f = shared.Add();
  REQUIRE(Ask(f, "POST", "/v1/admin/tenants", {{"id", "acme"}}).status == 201);
  auto database = store::Database::Open(shared.where).value();
  std::promise<void> locked, release;
  std::thread holder([&, done = release.get_future().share()] {
    CHECK(database
              ->Write(
                  store::Scope::System(),
                  [&](store::Session& session) -> absl::Status {
                    WEFT_RETURN_IF_ERROR(
                        session.Run("LOCK TABLE usage_records IN ACCESS EXCLUSIVE MODE").status());
                    locked.set_value();
                    done.wait();
                    return absl::OkStatus();
                  })
              .ok());
  });
  locked.get_future().wait();
  // More of them than threads that do such work.
  std::vector<std::future<int>> exports;
  for (int i = 0; i < 4; ++i) {
    exports.push_back(std::async(
        std::launch::async, [&] { return Ask(f, "GET", "/v1/admin/tenants/acme/export").status; }));
  }
  f.WaitFor(
      [&] {
        return test::SharedPostgres().Sql(
                   shared.where, "SELECT count(*) >= 2 FROM pg_locks WHERE NOT granted") == "t\n";
      },
      "exports that wait for the table");
  for (int i = 0; i < 5; ++i) {
    CHECK(Ask(f, "POST", "/v1/admin/projects?tenant=acme", {{"id", "p" + std::to_string(i)}})
              .status == 201);
  }
  CHECK(Ask(f, "GET", "/v1/admin/projects?tenant=acme").status == 200);
  release.set_value();
  holder.join();
  for (auto& answer : exports) CHECK(answer.get() == 200);
}

}  // namespace weft
