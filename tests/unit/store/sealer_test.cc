// Encryption at rest, and what is stored of a tenant or a person: exported, erased.
#include "libs/store/sealer.h"

#include <nlohmann/json.hpp>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/store/identity_store.h"
#include "libs/store/key_store.h"
#include "libs/store/resource.h"
#include "libs/store/tenant_data.h"
#include "libs/store/usage_store.h"
#include "tests/support/catch.h"
#include "tests/unit/store/store_backends.h"

using namespace weft;
using namespace weft::store;
using nlohmann::json;
using weft::test::StoreBackend;

namespace {

const std::string kOld = "old:" + std::string(64, '1');
const std::string kNew = "new:" + std::string(64, '2');

MasterKeys Keys(const std::string& text) {
  auto keys = MasterKeys::Parse(text);
  REQUIRE(keys.ok());
  return *std::move(keys);
}

absl::Status In(Database& db, const std::string& tenant, const Body& body) {
  return db.Write(Scope::Tenant(tenant), body);
}

std::string MakeUser(Database& db, const std::string& tenant, const std::string& name) {
  std::string id;
  REQUIRE(In(db, tenant, [&](Session& s) -> absl::Status {
            WEFT_ASSIGN_OR_RETURN(const auto user,
                                  CreateResource(s, *FindResourceType("users"), tenant,
                                                 {{"username", name}, {"email", name + "@x"}},
                                                 {{"password_hash", "hash-of-" + name}}, 1));
            id = user["id"].get<std::string>();
            return absl::OkStatus();
          }).ok());
  return id;
}

AuditRow ByOperator() {
  AuditRow row;
  row.user_id = "op";
  row.resource_type = "user";
  row.outcome = "ok";
  return row;
}

// Two tenants with two users each, who have keys, bindings, secrets, usage and audit.
struct Data {
  explicit Data(const StoreBackend& backend) : db(backend.OpenMigrated()) {
    auto key_store = KeyStore::Over(db);
    for (const std::string tenant : {"red", "blue"}) {
      REQUIRE(In(*db, tenant, [&](Session& s) {
                return CreateResource(s, *FindResourceType("tenants"), tenant,
                                      {{"id", tenant}, {"billing_info", {{"iban", "secret"}}}}, {},
                                      1)
                    .status();
              }).ok());
      for (const std::string name : {"ann", "bob"}) {
        const std::string id = MakeUser(*db, tenant, name);
        ids[tenant + name] = id;
        KeyRecord key;
        key.id = "key-" + tenant + name;
        key.name = "n";
        key.tenant = tenant;
        key.role = "developer";
        key.salt = std::string(16, 's');
        key.secret_hash = std::string(32, 'h');
        key.user_id = id;
        REQUIRE(key_store->Insert(key).ok());
        UsageRecord usage;
        usage.id = NewRequestId();
        usage.tenant = tenant;
        usage.user_id = "user:" + name;
        usage.key_id = key.id;
        usage.model = "m";
        usage.completion_tokens = 5;
        usage.at_us = 1'700'000'000'000'000;
        REQUIRE(AddUsage(*db, {usage}).ok());
        REQUIRE(In(*db, tenant, [&](Session& s) -> absl::Status {
                  AuditRow row;
                  row.tenant = tenant;
                  row.user_id = "user:" + name;
                  row.action = "login";
                  row.resource_type = "user";
                  row.outcome = "ok";
                  row.ip_address = "192.0.2.1";
                  WEFT_RETURN_IF_ERROR(AppendAudit(s, {row}, ""));
                  WEFT_RETURN_IF_ERROR(
                      CreateResource(
                          s, *FindResourceType("role_bindings"), tenant,
                          {{"subject_kind", "user"}, {"subject_id", name}, {"role", "viewer"}}, {},
                          1)
                          .status());
                  return secrets.Put(s, tenant, "prompt", name, id, "what " + name + " asked", 1);
                }).ok());
      }
    }
  }

  int64_t Count(const std::string& sql) {
    return db->ReadOne(Scope::System(), sql, {})->rows.at(0).Int(0);
  }
  std::vector<json> Export(const DataOwner& owner) {
    std::vector<json> lines;
    const absl::Status status = ExportData(*db, owner, [&](std::string_view line) {
      lines.push_back(json::parse(line));
      return absl::OkStatus();
    });
    INFO(std::string(status.message()));
    REQUIRE(status.ok());
    return lines;
  }

  std::shared_ptr<Database> db;
  std::map<std::string, std::string> ids;
  SecretStore secrets{Keys(kOld)};
};

}  // namespace

TEST_CASE("What is sealed opens with the same key and place, and with no other", "[store]") {
  const std::string key(32, 'k');
  for (const std::string& text :
       {std::string(), std::string("a text"), std::string(100'000, 'x')}) {
    const std::string sealed = SealBytes(text, key, "place");
    CHECK(sealed.find("a text") == std::string::npos);
    CHECK(*OpenBytes(sealed, key, "place") == text);
    CHECK(SealBytes(text, key, "place") != sealed);
    CHECK(OpenBytes(sealed, std::string(32, 'x'), "place").status().code() ==
          absl::StatusCode::kDataLoss);
    CHECK_FALSE(OpenBytes(sealed, key, "elsewhere").ok());
    CHECK_FALSE(OpenBytes(sealed.substr(0, sealed.size() - 1), key, "place").ok());
    for (size_t at = 0; at < sealed.size(); at += 1 + sealed.size() / 40) {
      std::string changed = sealed;
      changed[at] = static_cast<char>(changed[at] ^ 1);
      CHECK_FALSE(OpenBytes(changed, key, "place").ok());
    }
  }
  CHECK_FALSE(OpenBytes("", key, "place").ok());
}

TEST_CASE("Master keys are read by id, and errors do not quote them", "[store]") {
  CHECK(Keys("").empty());
  const MasterKeys both = Keys(kNew + "," + kOld);
  CHECK(both.current() == "new");
  CHECK(both.Find("old") != nullptr);
  CHECK(both.Find("other") == nullptr);
  for (const std::string& bad : {std::string("abcdef"), ":" + std::string(64, '1'),
                                 "a:" + std::string(63, '1'), kOld + "," + kOld}) {
    const auto keys = MasterKeys::Parse(bad);
    CHECK(keys.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK(Message(keys.status()).find("111") == std::string_view::npos);
  }
}

TEST_CASE("Sealed texts are read by their tenant, and keys rotate under them", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  Data f(backend);
  const auto get = [&](const SecretStore& secrets, const std::string& tenant) {
    std::string text;
    absl::Status status = In(*f.db, tenant, [&](Session& s) -> absl::Status {
      WEFT_ASSIGN_OR_RETURN(text, secrets.Get(s, tenant, "prompt", "ann"));
      return absl::OkStatus();
    });
    return status.ok() ? text : std::string(status.message());
  };
  CHECK(get(f.secrets, "red") == "what ann asked");
  CHECK(In(*f.db, "blue", [&](Session& s) {
          return f.secrets.Get(s, "red", "prompt", "ann").status();
        }).code() == absl::StatusCode::kPermissionDenied);
  // Moved to another place, a text does not open.
  REQUIRE(f.db->WriteOne(Scope::System(),
                         "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE tenant = "
                         "'red' AND name = 'bob') WHERE tenant = 'red' AND name = 'ann'",
                         {})
              .ok());
  CHECK(get(f.secrets, "red").find("tampered") != std::string::npos);
  REQUIRE(In(*f.db, "red", [&](Session& s) {
            return f.secrets.Put(s, "red", "prompt", "ann", "", "what ann asked", 2);
          }).ok());

  // The master key: both are there, the new one is current; then the old one may go.
  const SecretStore rotating(Keys(kNew + "," + kOld));
  const SecretStore after(Keys(kNew));
  CHECK(get(rotating, "red") == "what ann asked");
  CHECK(get(after, "red").find("'old'") != std::string::npos);
  REQUIRE(f.db->Write(Scope::System(),
                      [&](Session& s) -> absl::Status {
                        WEFT_ASSIGN_OR_RETURN(const int64_t wrapped, rotating.RewrapKeys(s));
                        CHECK(wrapped == 2);
                        return absl::OkStatus();
                      })
              .ok());
  CHECK(get(after, "red") == "what ann asked");
  CHECK(get(after, "blue") == "what ann asked");
  // The data key, in pieces.
  std::vector<int64_t> pieces;
  for (bool first = true; pieces.empty() || pieces.back() > 0; first = false) {
    REQUIRE(In(*f.db, "red", [&](Session& s) -> absl::Status {
              WEFT_ASSIGN_OR_RETURN(const int64_t sealed, after.Reseal(s, "red", first, 1, 9));
              pieces.push_back(sealed);
              return absl::OkStatus();
            }).ok());
  }
  CHECK(pieces == std::vector<int64_t>{1, 1, 0});
  CHECK(f.Count("SELECT count(*) FROM data_keys WHERE tenant = 'red'") == 1);
  CHECK(get(after, "red") == "what ann asked");
  const SecretStore none{MasterKeys()};
  CHECK(In(*f.db, "red", [&](Session& s) {
          return none.Put(s, "red", "k", "n", "", "t", 1);
        }).code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("An export holds all of a tenant or a person, and nothing of others or secret",
          "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  Data f(backend);
  std::map<std::string, int> types;
  for (const json& line : f.Export({"red"})) {
    ++types[line["type"].get<std::string>()];
    const std::string text = line.dump();
    CHECK(text.find("blue") == std::string::npos);
    CHECK(text.find("hash-of") == std::string::npos);
  }
  CHECK(types == std::map<std::string, int>{{"tenants", 1},
                                            {"users", 2},
                                            {"role_bindings", 2},
                                            {"api_keys", 2},
                                            {"usage", 2},
                                            {"audit", 2}});
  types.clear();
  for (const json& line : f.Export({"red", f.ids["redann"]})) {
    ++types[line["type"].get<std::string>()];
    CHECK(line.dump().find("bob") == std::string::npos);
  }
  CHECK(types ==
        std::map<std::string, int>{
            {"users", 1}, {"role_bindings", 1}, {"api_keys", 1}, {"usage", 1}, {"audit", 1}});
  const auto none = [](std::string_view) { return absl::OkStatus(); };
  CHECK(ExportData(*f.db, {"green"}, none).code() == absl::StatusCode::kNotFound);
  CHECK(ExportData(*f.db, {"blue", f.ids["redann"]}, none).code() == absl::StatusCode::kNotFound);
}

TEST_CASE("A person who is erased is in no table any more, and the sums and the chain stay",
          "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  Data f(backend);
  Erased erased;
  REQUIRE(
      In(*f.db, "red", [&](Session& s) -> absl::Status {
        WEFT_ASSIGN_OR_RETURN(erased, EraseData(s, {"red", f.ids["redann"]}, ByOperator(), "", 9));
        return absl::OkStatus();
      }).ok());
  CHECK(erased.audit_rows == 1);
  CHECK_FALSE(FindUser(*f.db, "red", "ann")->has_value());
  CHECK(FindUser(*f.db, "red", "bob")->has_value());
  for (const char* sql :
       {"SELECT count(*) FROM usage_records WHERE tenant = 'red' AND user_id = 'user:ann'",
        "SELECT count(*) FROM usage_daily WHERE tenant = 'red' AND user_id = 'user:ann'",
        "SELECT count(*) FROM audit_logs WHERE tenant_id = 'red' AND user_id = 'user:ann'",
        "SELECT count(*) FROM secrets WHERE tenant = 'red' AND name = 'ann'",
        "SELECT count(*) FROM role_bindings WHERE tenant = 'red' AND subject_id = 'ann'",
        "SELECT count(*) FROM api_keys WHERE id = 'key-redann'"}) {
    INFO(sql);
    CHECK(f.Count(sql) == 0);
  }
  CHECK(f.Count("SELECT CAST(SUM(requests) AS BIGINT) FROM usage_daily WHERE tenant = 'red'") == 2);
  CHECK(f.Export({"blue"}).size() == 11);
  const auto report = VerifyAudit(*f.db, "red", "");
  CHECK(report->faults.empty());
  CHECK(report->erased == 1);
}

TEST_CASE("A tenant that is erased leaves its name, sums without people, and a chain that verifies",
          "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  Data f(backend);
  REQUIRE(In(*f.db, "red", [&](Session& s) {
            return EraseData(s, {"red"}, ByOperator(), "", 9).status();
          }).ok());
  CHECK(**TenantStatus(*f.db, "red") == "erased");
  std::map<std::string, int> types;
  for (const json& line : f.Export({"red"})) {
    ++types[line["type"].get<std::string>()];
    CHECK(line.dump().find("ann") == std::string::npos);
    CHECK(line.dump().find("iban") == std::string::npos);
  }
  CHECK(types == std::map<std::string, int>{{"tenants", 1}, {"audit", 3}});
  CHECK(f.Count("SELECT count(*) FROM data_keys WHERE tenant = 'red'") == 0);
  CHECK(f.Count("SELECT CAST(SUM(requests) AS BIGINT) FROM usage_daily WHERE tenant = 'red'") == 2);
  CHECK(VerifyAudit(*f.db, "red", "")->faults.empty());
  CHECK(f.Export({"blue"}).size() == 11);
}
