// Tenants apart from each other over REST and gRPC, and what the audit keeps of administration.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <map>
#include <set>

#include "libs/base/ids.h"
#include "libs/identity/key_file.h"
#include "libs/identity/key_service.h"
#include "libs/store/resource.h"
#include "libs/store/sqlite.h"
#include "libs/store/usage_store.h"
#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"
#include "weft/v1/admin.grpc.pb.h"

using nlohmann::json;
using namespace weft;
using weft::test::GatewayFixture;
using weft::test::HttpRequest;

namespace {

// Two tenants, each with somebody who may do everything in it and nothing beyond, and an operator.
struct Company {
  Company() {
    std::vector<store::KeyRecord> records;
    for (const char* tenant : {"red", "blue"}) {
      auto made = identity::MakeKey({.name = tenant,
                                     .tenant = tenant,
                                     .role = "tenant-admin",
                                     .requests_per_minute = 1'000'000},
                                    "", 1000);
      REQUIRE(made.ok());
      records.push_back(made->record);
      keys[tenant] = made->text;
    }
    const std::string file = dir.File("keys.json");
    REQUIRE(identity::WriteSecretFile(file, identity::FormatKeyFile(records)).ok());
    std::vector<std::string> permissions;
    for (const auto& row : identity::PermissionTable()) {
      if (row.permission != identity::Permission::kTenantsCross) {
        permissions.emplace_back(row.name);
      }
    }
    gateway = std::make_unique<GatewayFixture>([&](gateway::Config& config) {
      config.keys_file = file;
      config.identity.roles = {{"tenant-admin", permissions, {}}};
      config.store.audit_key = "a key";
    });
    keys["operator"] = gateway->admin_key;
    for (const char* tenant : {"red", "blue"}) {
      REQUIRE(Ask("operator", "POST", "/v1/admin/tenants", {{"id", tenant}}).status == 201);
    }
  }

  test::RawHttp::Answer Ask(const std::string& who, const std::string& method,
                            const std::string& path, const json& body = {}) {
    return HttpRequest(
        gateway->server->http_port(), method, path, body.is_null() ? "" : body.dump(),
        "Authorization: Bearer " + keys.at(who) + "\r\nContent-Type: application/json\r\n");
  }
  json Data(const std::string& who, const std::string& path) {
    const auto answer = Ask(who, "GET", path);
    INFO(answer.body);
    REQUIRE(answer.status == 200);
    return json::parse(answer.body)["data"];
  }

  test::TempDir dir;
  std::map<std::string, std::string> keys;
  std::unique_ptr<GatewayFixture> gateway;
};

json Sample(std::string_view type, const std::string& id) {
  const store::ResourceType& described = *store::FindResourceType(type);
  json body = json::object();
  if (!described.id_is_made) body["id"] = id;
  if (type == "users") body["username"] = id;
  if (type == "role_bindings") {
    body = {{"subject_kind", "user"}, {"subject_id", id}, {"role", "viewer"}};
  }
  if (type == "quotas") {
    body = {{"subject_kind", "user"}, {"subject_id", id}, {"metric", "tokens"}, {"period", "day"}};
  }
  if (type == "settings") body["value"] = {{"a", 1}};
  return body;
}

}  // namespace

TEST_CASE("What one tenant has made no other reaches, by any endpoint and any method",
          "[gateway]") {
  Company f;
  auto channel =
      grpc::CreateChannel(f.gateway->server->grpc_address(), grpc::InsecureChannelCredentials());
  const auto stub = v1::AdminService::NewStub(channel);
  const auto context = [&](const std::string& who) {
    auto made = std::make_unique<grpc::ClientContext>();
    made->AddMetadata("authorization", "Bearer " + f.keys.at(who));
    return made;
  };
  for (const store::ResourceType& type : store::ResourceTypes()) {
    const std::string path = "/v1/admin/" + std::string(type.name);
    CAPTURE(path);
    std::string id = "red";
    if (type.name != "tenants") {
      const auto made = f.Ask("red", "POST", path, Sample(type.name, "mine"));
      INFO(made.body);
      REQUIRE(made.status == 201);
      id = json::parse(made.body)["id"];
      CHECK(f.Ask("red", "POST", path, Sample(type.name, "mine")).status == 409);
      CHECK(f.Ask("red", "GET", path + "/" + id).status == 200);
      CHECK(f.Ask("blue", "POST", path + "?tenant=red", Sample(type.name, "x")).status == 403);
    } else {
      CHECK(f.Ask("blue", "POST", path, {{"id", "green"}}).status == 403);
    }
    const std::string one = path + "/" + id;
    const json patch = type.name == "settings" ? json{{"value", 2}} : json::object();
    // With one's own tenant it does not exist; the other's may not be named.
    CHECK(f.Ask("blue", "GET", one).status == 404);
    CHECK(f.Ask("blue", "PATCH", one, patch).status == 404);
    if (type.name != "tenants") {
      CHECK(f.Ask("blue", "DELETE", one).status == 404);
      CHECK(f.Ask("blue", "GET", one + "?tenant=red").status == 403);
      CHECK(f.Ask("blue", "PATCH", one + "?tenant=red", patch).status == 403);
      CHECK(f.Ask("blue", "DELETE", one + "?tenant=red").status == 403);
      CHECK(f.Data("blue", path).empty());
    }
    CHECK(f.Ask("blue", "GET", path + "?tenant=red").status == 403);
    CHECK(f.Ask("blue", "GET", path + "?tenant=*").status == 403);
    // The same by gRPC.
    v1::GetResourceRequest get;
    get.set_type(std::string(type.name));
    get.set_id(id);
    v1::Resource record;
    using enum grpc::StatusCode;
    CHECK(stub->GetResource(context("blue").get(), get, &record).error_code() == NOT_FOUND);
    if (type.name != "tenants") {
      get.set_tenant("red");
      CHECK(stub->GetResource(context("blue").get(), get, &record).error_code() ==
            PERMISSION_DENIED);
      v1::UpdateResourceRequest update;
      update.set_type(std::string(type.name));
      update.set_tenant("red");
      update.set_id(id);
      update.set_json(patch.dump());
      CHECK(stub->UpdateResource(context("blue").get(), update, &record).error_code() ==
            PERMISSION_DENIED);
      v1::DeleteResourceRequest remove;
      remove.set_type(std::string(type.name));
      remove.set_tenant("red");
      remove.set_id(id);
      v1::DeleteResourceResponse removed;
      CHECK(stub->DeleteResource(context("blue").get(), remove, &removed).error_code() ==
            PERMISSION_DENIED);
      v1::CreateResourceRequest create;
      create.set_type(std::string(type.name));
      create.set_tenant("red");
      create.set_json(Sample(type.name, "y").dump());
      CHECK(stub->CreateResource(context("blue").get(), create, &record).error_code() ==
            PERMISSION_DENIED);
    }
    v1::ListResourcesRequest list;
    list.set_type(std::string(type.name));
    list.set_tenant("red");
    v1::ListResourcesResponse listed;
    CHECK(stub->ListResources(context("blue").get(), list, &listed).error_code() ==
          PERMISSION_DENIED);
    CHECK(stub->ListResources(context("red").get(), list, &listed).ok());
    CHECK(listed.resources_size() == 1);
    // The operator reaches both.
    CHECK(f.Ask("operator", "GET", one + "?tenant=red").status == 200);
    if (type.name != "tenants") CHECK(f.Ask("red", "DELETE", one).status == 200);
  }
  for (const char* path : {"/v1/usage", "/v1/admin/audit", "/v1/admin/audit/verify"}) {
    CAPTURE(path);
    for (const char* tenant : {"red", "*"}) {
      CHECK(f.Ask("blue", "GET", std::string(path) + "?tenant=" + tenant).status == 403);
    }
    CHECK(f.Ask("blue", "GET", path).status == 200);
  }
  v1::GetUsageRequest usage;
  usage.set_tenant("red");
  v1::GetUsageResponse used;
  CHECK(stub->GetUsage(context("blue").get(), usage, &used).error_code() ==
        grpc::StatusCode::PERMISSION_DENIED);
  v1::ListAuditRequest audit;
  audit.set_tenant("red");
  v1::ListAuditResponse rows;
  CHECK(stub->ListAudit(context("blue").get(), audit, &rows).error_code() ==
        grpc::StatusCode::PERMISSION_DENIED);
  v1::VerifyAuditRequest verify;
  verify.set_tenant("*");
  v1::VerifyAuditResponse report;
  CHECK(stub->VerifyAudit(context("blue").get(), verify, &report).error_code() ==
        grpc::StatusCode::PERMISSION_DENIED);
  REQUIRE(stub->VerifyAudit(context("operator").get(), verify, &report).ok());
  CHECK(report.chains_size() >= 2);
  for (const v1::AuditChainReport& chain : report.chains()) CHECK(chain.faults().empty());
}

TEST_CASE("Nobody gives away what they do not have", "[gateway]") {
  Company f;
  const auto field = [&](const std::string& path, const json& body) {
    const auto answer = f.Ask("red", "POST", "/v1/admin/" + path, body);
    CHECK((answer.status == 403 || answer.status == 400));
    return json::parse(answer.body)["error"]["param"];
  };
  CHECK(field("users", {{"username", "a"}, {"role", "admin"}}) == "role");
  CHECK(field("role_bindings",
              {{"subject_kind", "user"}, {"subject_id", "a"}, {"role", "admin"}}) == "role");
  CHECK(field("roles", {{"id", "r"}, {"permissions", {"tenants:cross"}}}) == "permissions");
  CHECK(field("roles", {{"id", "r"}, {"permissions", {"*"}}}) == "permissions");
  CHECK(field("roles", {{"id", "r"}, {"permissions", {"no:such"}}}) == "permissions");
  // What a tenant pays for is the operators' to say.
  CHECK(f.Ask("red", "PATCH", "/v1/admin/tenants/red", {{"plan_type", "gold"}}).status == 403);
  CHECK(f.Ask("red", "PATCH", "/v1/admin/tenants/red", {{"display_name", "Red"}}).status == 200);
  CHECK(f.Ask("operator", "PATCH", "/v1/admin/tenants/red", {{"plan_type", "gold"}}).status == 200);
}

TEST_CASE("A tenant's own role holds for its keys, and changes with it", "[gateway]") {
  Company f;
  REQUIRE(f.Ask("red", "POST", "/v1/admin/roles",
                {{"id", "reader"}, {"permissions", {"projects:read"}}})
              .status == 201);
  const auto made = f.Ask("red", "POST", "/v1/keys", {{"name", "k"}, {"role", "reader"}});
  INFO(made.body);
  REQUIRE(made.status == 201);
  f.keys["reader"] = json::parse(made.body)["secret"];
  CHECK(f.Ask("reader", "GET", "/v1/admin/projects").status == 200);
  CHECK(f.Ask("reader", "GET", "/v1/admin/users").status == 403);
  REQUIRE(
      f.Ask("red", "PATCH", "/v1/admin/roles/reader", {{"permissions", {"users:read"}}}).status ==
      200);
  f.gateway->WaitFor([&] { return f.Ask("reader", "GET", "/v1/admin/users").status == 200; },
                     "the role's change to be in force");
  CHECK(f.Ask("reader", "GET", "/v1/admin/projects").status == 403);
  // A tenant that is suspended is out at once, too.
  REQUIRE(f.Ask("operator", "PATCH", "/v1/admin/tenants/red", {{"status", "suspended"}}).status ==
          200);
  f.gateway->WaitFor([&] { return f.Ask("reader", "GET", "/v1/admin/users").status == 401; },
                     "the suspension to be in force");
}

TEST_CASE("Every act of administration is in the audit when it is answered", "[gateway]") {
  Company f;
  REQUIRE(
      f.Ask("red", "POST", "/v1/admin/projects", {{"id", "p"}, {"settings", {{"secret", "s3"}}}})
          .status == 201);
  REQUIRE(f.Ask("red", "PATCH", "/v1/admin/projects/p", {{"display_name", "P"}}).status == 200);
  REQUIRE(f.Ask("red", "DELETE", "/v1/admin/projects/p").status == 200);
  CHECK(f.Ask("blue", "DELETE", "/v1/admin/projects/p?tenant=red").status == 403);
  std::vector<std::string> seen;
  for (const json& row : f.Data("red", "/v1/admin/audit?resource_type=project")) {
    seen.push_back(row["action"].get<std::string>() + " " + row["outcome"].get<std::string>());
    CHECK(row["resource_id"] == "p");
    CHECK(row["ip_address"] == "127.0.0.1");
    CHECK(row["auth_method"] == "api_key");
    CHECK_FALSE(row["request_id"].get<std::string>().empty());
    CHECK(row.dump().find("s3") == std::string::npos);
  }
  CHECK(seen ==
        std::vector<std::string>{"projects:create ok", "projects:update ok", "projects:delete ok"});
  // Who tried it in vain is in their own chain.
  const json denied = f.Data("blue", "/v1/admin/audit?resource_type=project&order=desc");
  REQUIRE(denied.size() == 1);
  CHECK(denied[0]["outcome"] == "denied");
  // A secret is in no row.
  const std::string all = f.Ask("operator", "GET", "/v1/admin/audit?tenant=red&limit=999").body;
  for (const auto& [who, key] : f.keys) CHECK(all.find(key) == std::string::npos);
}

TEST_CASE("A row of the audit that was tampered with is found", "[gateway]") {
  Company f;
  REQUIRE(f.Ask("red", "POST", "/v1/admin/projects", {{"id", "p"}}).status == 201);
  const auto report = [&](const std::string& query = "") {
    return json::parse(f.Ask("red", "GET", "/v1/admin/audit/verify" + query).body);
  };
  const json before = report();
  CHECK(before["verified"] == true);
  const std::string head = before["data"][0]["head"];
  CHECK(report("?seen=" + head)["verified"] == true);
  CHECK(report("?seen=1:" + std::string(64, '0'))["verified"] == false);
  CHECK(f.Ask("red", "GET", "/v1/admin/audit/verify?seen=x").status == 400);
  auto other = store::SqliteConnection::Open(f.gateway->config.database);
  REQUIRE(other.ok());
  REQUIRE((*other)
              ->Execute("BEGIN; INSERT INTO audit_upkeep VALUES ('x'); UPDATE audit_logs SET "
                        "user_id = 'eve' WHERE tenant_id = 'red' AND action = 'projects:create'; "
                        "DELETE FROM audit_upkeep; COMMIT")
              .ok());
  const json after = report();
  CHECK(after["verified"] == false);
  CHECK(after["data"][0]["faults"].size() == 1);
}

TEST_CASE("What is stored of a person or a tenant is given out and taken away, to whom it belongs",
          "[gateway]") {
  Company f;
  const auto made =
      f.Ask("red", "POST", "/v1/admin/users", {{"username", "ann"}, {"email", "a@x"}});
  REQUIRE(made.status == 201);
  const std::string user = "/v1/admin/users/" + json::parse(made.body)["id"].get<std::string>();
  for (const std::string& act : {std::string("GET export"), std::string("POST erase")}) {
    const std::string method = act.substr(0, act.find(' '));
    const std::string verb = "/" + act.substr(act.find(' ') + 1);
    CHECK(f.Ask("blue", method, user + verb).status == 404);
    CHECK(f.Ask("blue", method, user + verb + "?tenant=red").status == 403);
    CHECK(f.Ask("blue", method, "/v1/admin/tenants/red" + verb).status == 403);
  }
  const auto exported = f.Ask("red", "GET", user + "/export");
  REQUIRE(exported.status == 200);
  CHECK(exported.body.find("a@x") != std::string::npos);
  CHECK(f.Ask("red", "POST", "/v1/admin/tenants/red/erase").status == 403);
  REQUIRE(f.Ask("red", "POST", user + "/erase").status == 200);
  CHECK(f.Ask("red", "GET", user).status == 404);
  REQUIRE(f.Ask("red", "POST", "/v1/admin/prune", {{"usage_days", 1}}).status == 200);
  CHECK(f.Ask("blue", "POST", "/v1/admin/prune?tenant=red", {{"audit_days", 1}}).status == 403);
  CHECK(f.Ask("red", "POST", "/v1/admin/encryption/rotate").status == 400);  // no master key
  REQUIRE(f.Ask("operator", "POST", "/v1/admin/tenants/blue/erase").status == 200);
  CHECK(json::parse(f.Ask("operator", "GET", "/v1/admin/tenants/blue").body)["status"] == "erased");
  for (const char* tenant : {"red", "blue"}) {
    const auto report = json::parse(
        f.Ask("operator", "GET", std::string("/v1/admin/audit/verify?tenant=") + tenant).body);
    CHECK(report["verified"] == true);
    CHECK(report["data"][0]["erased"] > 0);
  }
}

TEST_CASE("Usage is summed for whom it belongs to", "[gateway]") {
  Company f;
  auto db = store::Database::Open(f.gateway->config.database);
  REQUIRE(db.ok());
  std::vector<store::UsageRecord> records;
  for (int i = 0; i < 6; ++i) {
    store::UsageRecord record;
    record.id = NewRequestId();
    record.tenant = i < 4 ? "red" : "blue";
    record.model = "m" + std::to_string(i % 2);
    record.prompt_tokens = 10;
    record.completion_tokens = 1;
    record.at_us = 1'700'000'000'000'000;
    records.push_back(std::move(record));
  }
  REQUIRE(store::AddUsage(**db, records).ok());
  const json red = f.Data("red", "/v1/usage?group_by=model,day");
  REQUIRE(red.size() == 2);
  CHECK(red[0]["model"] == "m0");
  CHECK(red[0]["day"] == "2023-11-14");
  CHECK(red[0]["requests"] == 2);
  CHECK(red[0]["total_tokens"] == 22);
  CHECK(f.Data("operator", "/v1/usage?tenant=*")[0]["requests"] == 6);
  CHECK(f.Data("red", "/v1/usage?from=2023-11-15")[0]["requests"] == 0);
  CHECK(f.Ask("red", "GET", "/v1/usage?group_by=secret").status == 400);
  CHECK(f.Ask("red", "GET", "/v1/usage?from=now").status == 400);
}
