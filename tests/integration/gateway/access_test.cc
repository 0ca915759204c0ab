// Walks every REST route and every gRPC method with every role and without credentials.
#include <google/protobuf/descriptor.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include <condition_variable>
#include <fstream>
#include <map>
#include <mutex>
#include <set>

#include "libs/identity/key_file.h"
#include "libs/identity/key_service.h"
#include "libs/identity/role.h"
#include "services/gateway/grpc_guards.h"
#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"

using nlohmann::json;
using weft::identity::Guard;
using weft::identity::ParsePermission;
using weft::test::GatewayFixture;
using weft::test::HttpRequest;

namespace {

// Custom roles, and the model that one of them may use.
constexpr const char* kCustom[] = {"key-reader", "one-model"};

// A gateway with one key for each role, out of a keys file.
struct Roles {
  Roles() {
    const std::string file = dir.File("keys.json");
    std::vector<weft::store::KeyRecord> records;
    const auto add = [&](std::string_view role, std::string tenant, const std::string& name) {
      auto made = weft::identity::MakeKey({.name = "x",
                                           .tenant = std::move(tenant),
                                           .role = std::string(role),
                                           .requests_per_minute = 1'000'000},
                                          "", 1000);
      REQUIRE(made.ok());
      records.push_back(made->record);
      keys[name] = made->text;
      ids[name] = made->record.id;
    };
    for (const std::string_view role : weft::identity::BuiltInRoles()) {
      add(role, "red", std::string(role));
    }
    for (const char* role : kCustom) add(role, "red", role);
    add("removed-role", "red", "removed-role");
    REQUIRE(weft::identity::WriteSecretFile(file, weft::identity::FormatKeyFile(records)).ok());
    gateway = std::make_unique<GatewayFixture>([&](weft::gateway::Config& config) {
      config.keys_file = file;
      config.identity.roles = {{"key-reader", {"keys:read"}, {}},
                               {"one-model", {"models:use", "models:read"}, {"other-*"}}};
    });
  }

  weft::test::TempDir dir;
  std::map<std::string, std::string> keys;  // by role
  std::map<std::string, std::string> ids;
  std::unique_ptr<GatewayFixture> gateway;
};

bool May(const std::string& role, std::string_view permission) {
  if (role == "removed-role") return false;
  if (permission == "self:read") return true;
  if (role == "key-reader") return permission == "keys:read";
  if (role == "one-model")
    return permission.starts_with("models:") && permission != "models:manage";
  const auto grant = weft::identity::BuiltInRoleBook()->Find("red", role);
  REQUIRE(grant.ok());
  REQUIRE(*grant != nullptr);
  return (*grant)->permissions.Has(*ParsePermission(permission));
}

// One message of nothing to any method; what a stream answers beside its status is not looked at.
grpc::StatusCode CallMethod(grpc::GenericStub& stub, const std::string& method,
                            const std::string& key) {
  grpc::ClientContext context;
  if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  grpc::Slice nothing("", 0);
  const grpc::ByteBuffer request(&nothing, 1);
  grpc::ByteBuffer response;
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  grpc::Status result;
  stub.UnaryCall(&context, "/" + method, grpc::StubOptions(), &request, &response,
                 [&](const grpc::Status& status) {
                   std::lock_guard lock(mutex);
                   result = status;
                   done = true;
                   ended.notify_all();
                 });
  std::unique_lock lock(mutex);
  ended.wait(lock, [&] { return done; });
  return result.error_code();
}

}  // namespace

TEST_CASE("Every REST route asks every role, and nobody, for its permission", "[gateway]") {
  Roles f;
  const uint16_t port = f.gateway->server->http_port();
  const json document = json::parse(HttpRequest(port, "GET", "/openapi.json").body);
  // What must not be weaker; routes that come later are walked by their own permission.
  std::map<std::string, std::string> known = {
      {"POST /v1/chat/completions", "models:use"},
      {"POST /v1/completions", "models:use"},
      {"POST /infill", "models:use"},
      {"POST /generate", "models:use"},
      {"POST /predict", "models:use"},
      {"GET /v1/models", "models:read"},
      {"GET /v1/models/{id}", "models:read"},
      {"GET /models/{id}", "models:read"},
      {"POST /v1/keys", "keys:write"},
      {"GET /v1/keys", "keys:read"},
      {"POST /v1/keys/{id}/rotate", "keys:write"},
      {"DELETE /v1/keys/{id}", "keys:write"},
      {"POST /auth/login", "public"},
      {"GET /auth/oidc/login", "public"},
      {"GET /auth/oidc/callback", "public"},
      {"POST /auth/logout", "self:read"},
      {"GET /auth/me", "self:read"},
      {"GET /v1/usage", "usage:read"},
      {"GET /v1/cache", "cache:read"},
      {"POST /v1/cache/invalidate", "cache:clear"},
      {"GET /health", "public"},
      {"GET /ready", "public"},
      {"GET /api/health", "public"},
      {"GET /metrics", "public"},
      {"GET /openapi.json", "public"},
  };
  size_t walked = 0;
  for (const auto& [path, methods] : document["paths"].items()) {
    for (const auto& [method, operation] : methods.items()) {
      std::string upper = method;
      for (char& c : upper) c = static_cast<char>(c - 'a' + 'A');
      std::string target = path;
      for (size_t at; (at = target.find('{')) != std::string::npos;) {
        target.replace(at, target.find('}') - at + 1, "zz");
      }
      const std::string permission = operation["x-weft-permission"];
      const bool open = permission == "public";
      CAPTURE(upper, path, permission);
      REQUIRE((open || ParsePermission(permission).has_value()));
      if (const auto row = known.find(upper + " " + path); row != known.end()) {
        CHECK(permission == row->second);
        known.erase(row);
      }
      const std::string body = upper == "GET" || upper == "DELETE" ? "" : "{}";
      CHECK((HttpRequest(port, upper, target, body).status == 401) == !open);
      CHECK((HttpRequest(port, upper, target, body, "X-API-Key: weft_no\r\n").status == 401) ==
            !open);
      for (const auto& [role, key] : f.keys) {
        CAPTURE(role);
        const auto answer = HttpRequest(port, upper, target, body, "X-API-Key: " + key + "\r\n");
        CHECK((answer.status == 403) == (!open && !May(role, permission)));
        CHECK(answer.status != 401);
        CHECK(answer.status != 500);
        ++walked;
      }
    }
  }
  CHECK(known.empty());
  CHECK(walked >= 16 * f.keys.size());
}

TEST_CASE("Every gRPC method asks every role, and nobody, for its permission", "[gateway]") {
  Roles f;
  auto channel =
      grpc::CreateChannel(f.gateway->server->grpc_address(), grpc::InsecureChannelCredentials());
  grpc::GenericStub stub(channel);
  const std::map<std::string_view, std::string_view> known = {
      {"weft.v1.InferenceService/Generate", "models:use"},
      {"weft.v1.InferenceService/Tokenize", "models:use"},
      {"weft.v1.InferenceService/ListModels", "models:read"},
      {"weft.v1.AdminService/CreateKey", "keys:write"},
      {"weft.v1.AdminService/ListKeys", "keys:read"},
      {"weft.v1.AdminService/RotateKey", "keys:write"},
      {"weft.v1.AdminService/RevokeKey", "keys:write"},
      {"weft.v1.CacheService/InvalidateCache", "cache:clear"},
      {"weft.v1.CacheService/GetCacheStats", "cache:read"},
  };
  size_t found = 0;
  for (const weft::gateway::GrpcGuard& row : weft::gateway::GrpcGuards()) {
    const std::string method(row.method);
    CAPTURE(method);
    if (const auto it = known.find(row.method); it != known.end()) {
      CHECK(row.guard.name() == it->second);
      ++found;
    }
    const bool open = row.guard.is_public();
    using enum grpc::StatusCode;
    CHECK((CallMethod(stub, method, "") == UNAUTHENTICATED) == !open);
    CHECK((CallMethod(stub, method, "weft_no") == UNAUTHENTICATED) == !open);
    for (const auto& [role, key] : f.keys) {
      CAPTURE(role);
      const grpc::StatusCode code = CallMethod(stub, method, key);
      CHECK((code == PERMISSION_DENIED) == (!open && !May(role, row.guard.name())));
      CHECK(code != UNAUTHENTICATED);
      CHECK(code != UNIMPLEMENTED);
    }
  }
  CHECK(found == known.size());
}

TEST_CASE("Methods without a guard, and guards without a method, stop the gateway", "[gateway]") {
  using weft::gateway::CheckGrpcGuards;
  std::vector<std::string> services = {"weft.v1.InferenceService", "weft.v1.AdminService",
                                       "weft.v1.CacheService"};
  CHECK(CheckGrpcGuards(services).ok());
  CHECK_FALSE(CheckGrpcGuards({"weft.v1.InferenceService"}).ok());
  services.push_back("weft.v1.No");
  CHECK_FALSE(CheckGrpcGuards(services).ok());
}

TEST_CASE("A role's models are the only ones that it sees and uses, and each use is in the audit",
          "[gateway]") {
  Roles f;
  const uint16_t port = f.gateway->server->http_port();
  const auto ask = [&](const std::string& role, const std::string& path, const json& body) {
    return HttpRequest(port, body.is_null() ? "GET" : "POST", path,
                       body.is_null() ? "" : body.dump(), "X-API-Key: " + f.keys[role] + "\r\n");
  };
  CHECK(json::parse(ask("developer", "/v1/models", {}).body)["data"].size() == 1);
  CHECK(json::parse(ask("one-model", "/v1/models", {}).body)["data"].empty());
  CHECK(ask("one-model", "/v1/models/fake", {}).status == 404);
  CHECK(ask("one-model", "/models/default", {}).status == 404);
  CHECK(ask("developer", "/v1/models/fake", {}).status == 200);
  const json completion = {{"model", "fake"}, {"prompt", "words 2"}};
  CHECK(ask("developer", "/v1/completions", completion).status == 200);
  const auto refused = ask("one-model", "/v1/completions", completion);
  CHECK(refused.status == 404);
  CHECK(json::parse(refused.body)["error"]["code"] == "model_not_found");
  CHECK(ask("one-model", "/predict", {{"input", "x"}}).status == 404);
  std::set<std::string> seen;
  f.gateway->WaitFor(
      [&] {
        const auto rows = json::parse(
            f.gateway->Get("/v1/admin/audit?tenant=red&action=models:use").body)["data"];
        seen.clear();
        for (const json& row : rows) {
          CHECK(row["resource_id"] == "fake");
          CHECK(row["ip_address"] == "127.0.0.1");
          seen.insert(row["key_id"].get<std::string>() + " " + row["outcome"].get<std::string>());
        }
        return seen.size() >= 2;
      },
      "the uses to be in the audit");
  CHECK(seen == std::set<std::string>{f.ids["developer"] + " ok", f.ids["one-model"] + " denied"});
}

TEST_CASE("Without tenants:cross, keys of other tenants are out of reach", "[gateway]") {
  Roles f;
  GatewayFixture& g = *f.gateway;
  const std::string reader = "X-API-Key: " + f.keys["key-reader"] + "\r\n";
  REQUIRE(g.Post("/v1/keys", {{"name", "b"}, {"tenant", "blue"}}).status == 201);
  REQUIRE(g.Post("/v1/keys", {{"name", "r"}, {"tenant", "red"}}).status == 201);
  const json keys = json::parse(g.Get("/v1/keys", reader).body);
  for (const json& key : keys["data"]) {
    CHECK(key["tenant"] == "red");
  }
  CHECK(g.Get("/v1/keys?tenant=blue", reader).status == 403);
  CHECK(json::parse(g.Get("/v1/keys?tenant=blue").body)["data"].size() == 1);
}
