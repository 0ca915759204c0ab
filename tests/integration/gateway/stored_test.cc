// Gateways that share a database: what is kept there holds in each of them.
#include <future>
#include <thread>

#include "libs/base/status.h"
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
