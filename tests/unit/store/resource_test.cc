// Tenants, projects, users, roles, quotas, settings: kept apart, checked, changed.
#include "libs/store/resource.h"

#include <nlohmann/json.hpp>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/store/changes.h"
#include "libs/store/identity_store.h"
#include "libs/store/key_store.h"
#include "libs/store/usage_store.h"
#include "tests/support/catch.h"
#include "tests/unit/store/store_backends.h"

using namespace weft;
using namespace weft::store;
using nlohmann::json;
using nlohmann::ordered_json;
using weft::test::StoreBackend;

namespace {

const ResourceType& Type(std::string_view name) {
  const ResourceType* type = FindResourceType(name);
  REQUIRE(type != nullptr);
  return *type;
}

absl::StatusOr<ordered_json> Create(Database& db, std::string_view type, const std::string& tenant,
                                    const json& body, const Scope& scope) {
  ordered_json out;
  WEFT_RETURN_IF_ERROR(db.Write(scope, [&](Session& s) -> absl::Status {
    WEFT_ASSIGN_OR_RETURN(out, CreateResource(s, Type(type), tenant, body, {}, 100));
    return absl::OkStatus();
  }));
  return out;
}
absl::StatusOr<ordered_json> Create(Database& db, std::string_view type, const std::string& tenant,
                                    const json& body) {
  return Create(db, type, tenant, body, Scope::Tenant(tenant));
}

// A body that is good for each type.
json Sample(std::string_view type, const std::string& id) {
  json body = json::object();
  if (!Type(type).id_is_made) body["id"] = id;
  if (type == "users") body["username"] = id;
  if (type == "role_bindings") {
    body = {{"subject_kind", "user"}, {"subject_id", id}, {"role", "auditor"}};
  }
  if (type == "quotas") {
    body = {{"subject_kind", "user"}, {"subject_id", id}, {"metric", "tokens"}, {"period", "day"}};
  }
  if (type == "settings") body["value"] = {{"a", json::array({1, "x", nullptr})}};
  return body;
}

std::shared_ptr<Database> WithTenants(const StoreBackend& backend) {
  auto db = backend.OpenMigrated();
  for (const char* tenant : {"red", "blue"}) {
    REQUIRE(Create(*db, "tenants", tenant, {{"id", tenant}}).ok());
  }
  return db;
}

}  // namespace

TEST_CASE("Every resource is made, read, listed, changed and removed", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = WithTenants(backend);
  for (const ResourceType& type : ResourceTypes()) {
    INFO(std::string(type.name));
    if (type.name == "tenants") continue;
    const auto made = Create(*db, type.name, "red", Sample(type.name, "first"));
    INFO(std::string(made.status().message()));
    REQUIRE(made.ok());
    CHECK((*made)["object"] == type.singular);
    CHECK((*made)["tenant"] == "red");
    CHECK((*made)["created_at"] == 100);
    CHECK_FALSE(made->contains("password_hash"));
    CHECK(Create(*db, type.name, "red", Sample(type.name, "first")).status().code() ==
          absl::StatusCode::kAlreadyExists);
    REQUIRE(Create(*db, type.name, "red", Sample(type.name, "second")).ok());
    const auto id = (*made)["id"].get<std::string>();
    const absl::Status status = db->Write(Scope::Tenant("red"), [&](Session& s) -> absl::Status {
      WEFT_ASSIGN_OR_RETURN(const auto all, ListResources(s, type, "red", "", 10));
      CHECK(all.size() == 2);
      WEFT_ASSIGN_OR_RETURN(const auto page, ListResources(s, type, "red", "", 1));
      REQUIRE(page.size() == 1);
      WEFT_ASSIGN_OR_RETURN(const auto rest,
                            ListResources(s, type, "red", page[0]["id"].get<std::string>(), 10));
      CHECK(rest.size() == 1);
      WEFT_ASSIGN_OR_RETURN(const auto got, GetResource(s, type, "red", id));
      CHECK(got == *made);
      const json patch = type.name == "settings" ? json{{"value", 7}} : json::object();
      WEFT_ASSIGN_OR_RETURN(const auto changed, UpdateResource(s, type, "red", id, patch, {}, 200));
      CHECK(changed["updated_at"] == 200);
      WEFT_RETURN_IF_ERROR(RemoveResource(s, type, "red", id, 300));
      CHECK(GetResource(s, type, "red", id).status().code() == absl::StatusCode::kNotFound);
      CHECK(RemoveResource(s, type, "red", id, 300).code() == absl::StatusCode::kNotFound);
      return absl::OkStatus();
    });
    INFO(std::string(status.message()));
    REQUIRE(status.ok());
  }
}

TEST_CASE("What belongs to one tenant does not exist for another, in every function", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = WithTenants(backend);
  for (const ResourceType& type : ResourceTypes()) {
    INFO(std::string(type.name));
    std::string id = "red";
    if (type.name != "tenants") {
      id = (*Create(*db, type.name, "red", Sample(type.name, "mine")))["id"].get<std::string>();
      // In another's name.
      CHECK(Create(*db, type.name, "red", Sample(type.name, "other"), Scope::Tenant("blue"))
                .status()
                .code() == absl::StatusCode::kPermissionDenied);
    }
    for (const char* asked : {"red", "blue"}) {  // another's name, and one's own with another's id
      const auto read = [&](const std::function<absl::Status(Session&)>& work) {
        return db->Write(Scope::Tenant("blue"), work).code();
      };
      const auto expected = std::string(asked) == "red" ? absl::StatusCode::kPermissionDenied
                                                        : absl::StatusCode::kNotFound;
      CHECK(read([&](Session& s) { return GetResource(s, type, asked, id).status(); }) == expected);
      const json patch = type.name == "settings" ? json{{"value", 1}} : json::object();
      CHECK(read([&](Session& s) {
              return UpdateResource(s, type, asked, id, patch, {}, 1).status();
            }) == expected);
      if (type.name != "tenants") {
        CHECK(read([&](Session& s) { return RemoveResource(s, type, asked, id, 1); }) == expected);
      }
    }
    CHECK(db->Read(Scope::Tenant("blue"), [&](Session& s) {
              return ListResources(s, type, "red", "", 10).status();
            }).code() == absl::StatusCode::kPermissionDenied);
    REQUIRE(db->Read(Scope::Tenant("blue"), [&](Session& s) -> absl::Status {
                WEFT_ASSIGN_OR_RETURN(const auto own, ListResources(s, type, "blue", "", 10));
                CHECK(own.size() == (type.name == "tenants" ? 1 : 0));
                CHECK(ListResources(s, type, "", "", 10).status().code() ==
                      absl::StatusCode::kPermissionDenied);
                return absl::OkStatus();
              }).ok());
    REQUIRE(db->Read(Scope::System(), [&](Session& s) -> absl::Status {
                WEFT_ASSIGN_OR_RETURN(const auto all, ListResources(s, type, "", "", 10));
                CHECK(all.size() == (type.name == "tenants" ? 2 : 1));
                return absl::OkStatus();
              }).ok());
  }
  CHECK_FALSE(FindUser(*db, "blue", "mine")->has_value());
  CHECK(FindUser(*db, "red", "mine")->has_value());
  CHECK(BoundRoles(*db, "blue", "user", "mine", "")->empty());
  CHECK(BoundRoles(*db, "red", "user", "mine", "")->size() == 1);
  CHECK_FALSE(FindRole(*db, "blue", "mine")->has_value());
  CHECK(FindRole(*db, "red", "mine")->has_value());
}

TEST_CASE("A body that is not good is refused by the field at fault", "[store]") {
  const StoreBackend backend(test::Backend::kSqlite);
  auto db = WithTenants(backend);
  const auto field = [&](std::string_view type, const json& body) {
    const auto made = Create(*db, type, "red", body);
    CHECK(made.status().code() == absl::StatusCode::kInvalidArgument);
    return FieldOf(made.status());
  };
  CHECK(field("projects", json::object()) == "id");
  CHECK(field("projects", {{"id", "a b"}}) == "id");
  CHECK(field("projects", {{"id", std::string(101, 'a')}}) == "id");
  CHECK(field("projects", {{"id", "a"}, {"colour", 1}}) == "colour");
  CHECK(field("projects", {{"id", "a"}, {"settings", "{}"}}) == "settings");
  CHECK(field("projects", {{"id", "a"}, {"display_name", "a\nb"}}) == "display_name");
  CHECK(field("projects", {{"id", "a"}, {"settings", {{"x", std::string(70'000, 'x')}}}}) ==
        "settings");
  CHECK(field("users", {{"id", "a"}, {"username", "a"}}) == "id");
  CHECK(field("users", json::object()) == "username");
  CHECK(field("users", {{"username", ""}}) == "username");
  CHECK(field("users", {{"username", "a"}, {"password_hash", "x"}}) == "password_hash");
  CHECK(field("users", {{"username", "a"}, {"models", {1}}}) == "models");
  CHECK(field("users", {{"username", "a"}, {"requests_per_minute", 0}}) == "requests_per_minute");
  CHECK(field("users", {{"username", "a"}, {"requests_per_minute", 1.5}}) == "requests_per_minute");
  CHECK(field("quotas", {{"subject_kind", "planet"}, {"metric", "tokens"}, {"period", "day"}}) ==
        "subject_kind");
  CHECK(Create(*db, "projects", "green", {{"id", "a"}}).status().code() ==
        absl::StatusCode::kInvalidArgument);
  const auto renamed = db->Write(Scope::Tenant("red"), [&](Session& s) -> absl::Status {
    WEFT_ASSIGN_OR_RETURN(const auto user,
                          CreateResource(s, Type("users"), "red", {{"username", "a"}}, {}, 1));
    return UpdateResource(s, Type("users"), "red", user["id"].get<std::string>(),
                          {{"username", "b"}}, {}, 1)
        .status();
  });
  CHECK(FieldOf(renamed) == "username");
}

TEST_CASE("A user who goes takes keys and bindings along", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = WithTenants(backend);
  const auto id = (*Create(*db, "users", "red", Sample("users", "ann")))["id"].get<std::string>();
  REQUIRE(Create(*db, "role_bindings", "red", Sample("role_bindings", "ann")).ok());
  auto keys = KeyStore::Over(db);
  KeyRecord key;
  key.id = "k";
  key.name = "n";
  key.tenant = "red";
  key.role = "developer";
  key.salt = std::string(16, 's');
  key.secret_hash = std::string(32, 'h');
  key.user_id = id;
  REQUIRE(keys->Insert(key).ok());
  REQUIRE(SetPassword(*db, "red", "ann", "a hash", 50).ok());
  CHECK((*FindUser(*db, "red", "ann"))->password_hash == "a hash");
  CHECK((*FindUser(*db, "red", "ann"))->tokens_from == 50);
  const int64_t before = *ChangeNumber(*db, Topic::kKeys);
  REQUIRE(db->Write(Scope::Tenant("red"), [&](Session& s) {
              return RemoveResource(s, Type("users"), "red", id, 77);
            }).ok());
  CHECK((*keys->Find("k"))->revoked_at == 77);
  CHECK(BoundRoles(*db, "red", "user", "ann", "")->empty());
  CHECK(*ChangeNumber(*db, Topic::kKeys) != before);
  CHECK(SetPassword(*db, "red", "ann", "x", 1).code() == absl::StatusCode::kNotFound);
}

TEST_CASE("A user of a suspended tenant is disabled", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = WithTenants(backend);
  REQUIRE(Create(*db, "users", "red", Sample("users", "ann")).ok());
  CHECK_FALSE((*FindUser(*db, "red", "ann"))->disabled);
  REQUIRE(db->Write(Scope::Tenant("red"), [&](Session& s) {
              return UpdateResource(s, Type("tenants"), "red", "red", {{"status", "suspended"}}, {},
                                    1)
                  .status();
            }).ok());
  CHECK((*FindUser(*db, "red", "ann"))->disabled);
  CHECK(**TenantStatus(*db, "red") == "suspended");
  CHECK_FALSE(TenantStatus(*db, "green")->has_value());
}

TEST_CASE("Usage counts each record once, and adds up by what is asked", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = WithTenants(backend);
  std::vector<UsageRecord> records;
  for (int i = 0; i < 40; ++i) {
    UsageRecord r;
    r.id = "id" + std::to_string(100 + i);
    r.tenant = i % 4 == 0 ? "blue" : "red";
    r.model = i % 2 == 0 ? "m1" : "m2";
    r.key_id = "k";
    r.prompt_tokens = 10;
    r.completion_tokens = 5;
    r.cost_micros = 3;
    r.at_us = (1'700'000'000LL + i / 20 * 86'400) * 1'000'000;  // two days
    records.push_back(r);
  }
  REQUIRE(AddUsage(*db, {records.begin(), records.begin() + 30}).ok());
  REQUIRE(AddUsage(*db, records).ok());
  REQUIRE(AddUsage(*db, records).ok());
  const auto sum = [&](const Scope& scope, const UsageFilter& filter) {
    std::vector<UsageSum> sums;
    const absl::Status status = db->Read(scope, [&](Session& s) -> absl::Status {
      WEFT_ASSIGN_OR_RETURN(sums, SumUsage(s, filter));
      return absl::OkStatus();
    });
    INFO(std::string(status.message()));
    REQUIRE(status.ok());
    return sums;
  };
  const auto all = sum(Scope::System(), {});
  REQUIRE(all.size() == 1);
  CHECK(all[0].requests == 40);
  CHECK(all[0].prompt_tokens == 400);
  CHECK(all[0].cost_micros == 120);
  CHECK(sum(Scope::Tenant("blue"), {})[0].requests == 10);
  CHECK(sum(Scope::Tenant("green"), {})[0].requests == 0);
  const auto days =
      sum(Scope::Tenant("red"), {.from_day = {}, .until_day = {}, .group_by = {"day", "model"}});
  REQUIRE(days.size() == 4);
  CHECK(days[0].group == std::vector<std::string>{"2023-11-14", "m1"});
  CHECK(days[0].requests + days[1].requests == 15);
  CHECK(sum(Scope::System(),
            {.from_day = "2023-11-15", .until_day = "2023-11-15", .group_by = {"month"}})[0]
            .group[0] == "2023-11");
  for (const UsageFilter& bad :
       {UsageFilter{.from_day = "yesterday", .until_day = {}, .group_by = {}},
        UsageFilter{.from_day = {}, .until_day = {}, .group_by = {"day; DROP TABLE users"}}}) {
    CHECK(db->Read(Scope::System(), [&](Session& s) { return SumUsage(s, bad).status(); }).code() ==
          absl::StatusCode::kInvalidArgument);
  }
  REQUIRE(db->Write(Scope::Tenant("red"), [&](Session& s) -> absl::Status {
              WEFT_ASSIGN_OR_RETURN(const auto page, ReadUsage(s, "red", "", 7));
              CHECK(page.size() == 7);
              WEFT_ASSIGN_OR_RETURN(const auto rest, ReadUsage(s, "red", page.back().id, 1000));
              CHECK(rest.size() == 23);
              CHECK(rest.back().at_us == records.back().at_us);
              CHECK(ReadUsage(s, "blue", "", 1).status().code() ==
                    absl::StatusCode::kPermissionDenied);
              WEFT_ASSIGN_OR_RETURN(const int64_t gone,
                                    PruneUsage(s, "red", (1'700'000'000LL + 1) * 1'000'000));
              CHECK(gone == 15);
              return absl::OkStatus();
            }).ok());
  CHECK(sum(Scope::System(), {})[0].requests == 40);
}
