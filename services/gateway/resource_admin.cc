#include "services/gateway/resource_admin.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "libs/base/error_info.h"
#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "services/gateway/admission.h"
#include "services/gateway/tenant_policy.h"

namespace weft::gateway {
namespace {

using identity::Permission;
using nlohmann::json;
using nlohmann::ordered_json;
using store::ResourceType;
using store::Scope;
using store::Session;

bool Crosses(const Actor& actor) { return actor.principal->Can(Permission::kTenantsCross); }

// Passes what the client can mend; the rest is the store's trouble.
absl::Status Shown(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kPermissionDenied:
      return status;
    case absl::StatusCode::kFailedPrecondition:
      // Of RemoveResource; the database's own words name it.
      if (Message(status).find("database ") == std::string_view::npos) return status;
      break;
    default:
      break;
  }
  return StoreTrouble("an administrative call failed", status);
}

Scope ScopeOf(std::string_view tenant) {
  return tenant == "*" ? Scope::System() : Scope::Tenant(tenant);
}

// The names of the members that were given: never the values, which may be personal.
std::string Members(const json& body) {
  json names = json::array();
  if (body.is_object()) {
    for (const auto& [name, value] : body.items()) names.push_back(name.substr(0, 64));
  }
  return json{{"fields", names}}.dump(-1, ' ', false, json::error_handler_t::replace);
}

// What a tenant may use in all is not its own to say.
absl::Status CheckQuotaOf(const Actor& actor, const json& subject_kind) {
  if (subject_kind != "tenant" || Crosses(actor)) return absl::OkStatus();
  return WithField(PermissionDenied("Quotas of a whole tenant are set by the operators."),
                   "subject_kind");
}

ordered_json ListOf(std::vector<ordered_json> data, bool more) {
  ordered_json out;
  out["object"] = "list";
  out["data"] = std::move(data);
  out["has_more"] = more;
  return out;
}

}  // namespace

Permission ResourcePermission(const ResourceType& type, bool write) {
  if (type.name == "tenants") return write ? Permission::kTenantsWrite : Permission::kTenantsRead;
  if (type.name == "projects") {
    return write ? Permission::kProjectsWrite : Permission::kProjectsRead;
  }
  if (type.name == "users") return write ? Permission::kUsersWrite : Permission::kUsersRead;
  if (type.name == "quotas") return write ? Permission::kQuotasWrite : Permission::kQuotasRead;
  if (type.name == "settings") {
    return write ? Permission::kSettingsWrite : Permission::kSettingsRead;
  }
  return write ? Permission::kRolesWrite : Permission::kRolesRead;  // roles and role_bindings
}

absl::StatusOr<std::string> ResourceAdmin::TenantOf(const Actor& actor, const ResourceType& type,
                                                    std::string_view tenant,
                                                    std::string_view id) const {
  std::string whose(tenant);
  if (type.name == "tenants" && !id.empty()) whose = id;
  if (whose.empty()) whose = actor.principal->tenant;
  if (Crosses(actor)) return whose;
  if (whose != actor.principal->tenant) {
    if (type.name == "tenants" && !id.empty()) return NotFound("there is no tenant '{}'", id);
    return WithField(PermissionDenied("You may act on your own tenant alone."), "tenant");
  }
  return whose;
}

absl::Status ResourceAdmin::MayGive(const Actor& actor, const ResourceType& type,
                                    std::string_view tenant, const json& body) const {
  identity::Principal given;
  given.tenant = tenant;
  std::string_view field = "role";
  if (type.name == "roles") {
    if (!body.contains("permissions") || !body["permissions"].is_array()) return absl::OkStatus();
    field = "permissions";
    std::vector<std::string> names;
    for (const json& name : body["permissions"]) {
      if (!name.is_string()) return absl::OkStatus();  // refused by the fields' own check
      names.push_back(name.get<std::string>());
    }
    auto permissions = identity::ParsePermissions(names);
    if (!permissions.ok()) return WithField(permissions.status(), field);
    if (permissions->Has(Permission::kTenantsCross)) {
      return WithField(InvalidArgument("permissions: a tenant's role cannot give tenants:cross"),
                       field);
    }
    given.permissions = *permissions;
  } else if (type.name == "users" || type.name == "role_bindings") {
    const json role = body.value("role", json("developer"));
    if (!role.is_string() || (type.name == "users" && !body.contains("role"))) {
      return absl::OkStatus();
    }
    auto names = identity::ParseRoles(role.get_ref<const std::string&>());
    if (!names.ok()) return WithField(names.status(), field);
    WEFT_RETURN_IF_ERROR(identity::GrantRoles(*roles_, *std::move(names), given));
  } else if (type.name == "tenants" && !Crosses(actor) && body.is_object()) {
    for (const auto& [name, value] : body.items()) {
      if (name == "display_name" || name == "settings") continue;
      return WithField(
          PermissionDenied("A tenant's {} is set by the operators.", name.substr(0, 64)), name);
    }
    return absl::OkStatus();
  } else if (type.name == "quotas" && body.is_object()) {
    return CheckQuotaOf(actor, body.value("subject_kind", json()));
  }
  if (given.permissions.IsSubsetOf(actor.principal->permissions)) return absl::OkStatus();
  return WithField(
      PermissionDenied(
          "You may not give what you do not have: {}.",
          fmt::join(identity::PermissionNames(given.permissions - actor.principal->permissions),
                    ", ")),
      field);
}

absl::Status ResourceAdmin::MayTouch(const Actor& actor, const ResourceType& type,
                                     std::string_view tenant, std::string_view id) const {
  if (type.name != "quotas" || Crosses(actor)) return absl::OkStatus();
  absl::StatusOr<ordered_json> found;
  WEFT_RETURN_IF_ERROR(database_->Read(Scope::Tenant(tenant), [&](Session& session) {
    found = store::GetResource(session, type, tenant, id);
    return found.status();
  }));
  return CheckQuotaOf(actor, (*found)["subject_kind"]);
}

absl::Status ResourceAdmin::CheckValue(const ResourceType& type, std::string_view id,
                                       const json& body) const {
  if (type.name != "settings" || !body.is_object() || !body.contains("value")) {
    return absl::OkStatus();
  }
  return CheckSetting(id, body["value"], can_seal_);
}

absl::Status ResourceAdmin::TakePassword(const ResourceType& type, json& body, json& server) const {
  if (type.name != "users" || !body.is_object() || !body.contains("password")) {
    return absl::OkStatus();
  }
  const json password = body["password"];
  body.erase("password");
  if (!hash_password_) {
    return WithField(InvalidArgument("password: this gateway keeps no passwords"), "password");
  }
  if (!password.is_string()) {
    return WithField(InvalidArgument("password: must be a text"), "password");
  }
  WEFT_ASSIGN_OR_RETURN(server["password_hash"],
                        hash_password_(password.get_ref<const std::string&>()));
  return absl::OkStatus();
}

absl::Status ResourceAdmin::Refused(const Actor& actor, std::string_view what,
                                    std::string_view resource_type, std::string_view id,
                                    absl::Status status) {
  const bool denied = status.code() == absl::StatusCode::kPermissionDenied;
  // Into the chain of who tried: the other tenant's is not theirs to write.
  audit_
      .Keep(AuditOf(actor, clock_.Wall(), std::string(what), std::string(resource_type),
                    std::string(id.substr(0, 100)), denied ? "denied" : "failed"))
      .IgnoreError();
  return Shown(status);
}

absl::Status ResourceAdmin::Write(const Actor& actor, const ResourceType& type,
                                  std::string_view tenant, std::string_view verb, std::string id,
                                  std::string details, const Act& act) {
  const std::string action = fmt::format("{}:{}", type.name, verb);
  identity::AuditEvent event =
      AuditOf(actor, clock_.Wall(), action, std::string(type.singular), id, "ok");
  event.tenant = tenant;
  event.details = std::move(details);
  store::AuditRow row = ToAuditRow(std::move(event));
  const absl::Status status =
      database_->Write(ScopeOf(tenant), [&](Session& session) -> absl::Status {
        WEFT_RETURN_IF_ERROR(act(session, row.resource_id));
        return store::AppendAudit(session, {row}, audit_.key());
      });
  return status.ok() ? status : Refused(actor, action, type.singular, id, status);
}

absl::StatusOr<ordered_json> ResourceAdmin::Create(const Actor& actor, const ResourceType& type,
                                                   std::string_view tenant, json body) {
  const bool is_tenant = type.name == "tenants";
  const std::string id = body.is_object() && body.contains("id") && body["id"].is_string()
                             ? body["id"].get<std::string>()
                             : std::string();
  auto whose = TenantOf(actor, type, tenant, is_tenant ? id : std::string());
  absl::Status allowed = whose.status();
  if (is_tenant && !Crosses(actor)) {
    allowed = PermissionDenied("Tenants are made by the operators.");
  }
  if (allowed.ok()) allowed = MayGive(actor, type, *whose, body);
  const std::string action = fmt::format("{}:create", type.name);
  if (!allowed.ok()) return Refused(actor, action, type.singular, id, allowed);
  const std::string details = Members(body);
  json server = json::object();
  WEFT_RETURN_IF_ERROR(TakePassword(type, body, server));
  WEFT_RETURN_IF_ERROR(CheckValue(type, id, body));
  ordered_json made;
  WEFT_RETURN_IF_ERROR(
      Write(actor, type, is_tenant && id.empty() ? actor.principal->tenant : *whose, "create", id,
            details, [&](Session& session, std::string& made_id) -> absl::Status {
              WEFT_ASSIGN_OR_RETURN(made, store::CreateResource(session, type, *whose, body, server,
                                                                UnixSeconds(clock_.Wall())));
              made_id = made["id"].get<std::string>();
              return absl::OkStatus();
            }));
  return made;
}

absl::StatusOr<ordered_json> ResourceAdmin::Get(const Actor& actor, const ResourceType& type,
                                                std::string_view tenant, std::string_view id) {
  auto whose = TenantOf(actor, type, tenant, id);
  if (!whose.ok()) {
    return Refused(actor, fmt::format("{}:read", type.name), type.singular, id, whose.status());
  }
  ordered_json found;
  const absl::Status status =
      database_->Read(Scope::Tenant(*whose), [&](Session& session) -> absl::Status {
        WEFT_ASSIGN_OR_RETURN(found, store::GetResource(session, type, *whose, id));
        return absl::OkStatus();
      });
  if (!status.ok()) return Shown(status);
  return found;
}

absl::StatusOr<ordered_json> ResourceAdmin::List(const Actor& actor, const ResourceType& type,
                                                 std::string_view tenant, std::string_view after,
                                                 size_t limit) {
  if (type.name == "tenants" && tenant.empty() && Crosses(actor)) tenant = "*";
  auto whose = TenantOf(actor, type, tenant, {});
  if (!whose.ok()) {
    return Refused(actor, fmt::format("{}:read", type.name), type.singular, {}, whose.status());
  }
  std::vector<ordered_json> records;
  const size_t most = std::clamp<size_t>(limit, 1, 999);
  const absl::Status status =
      database_->Read(ScopeOf(*whose), [&](Session& session) -> absl::Status {
        WEFT_ASSIGN_OR_RETURN(
            records,
            store::ListResources(session, type, *whose == "*" ? "" : *whose, after, most + 1));
        return absl::OkStatus();
      });
  if (!status.ok()) return Shown(status);
  const bool more = records.size() > most;
  if (more) records.pop_back();
  return ListOf(std::move(records), more);
}

absl::StatusOr<ordered_json> ResourceAdmin::Update(const Actor& actor, const ResourceType& type,
                                                   std::string_view tenant, std::string_view id,
                                                   json patch) {
  auto whose = TenantOf(actor, type, tenant, id);
  absl::Status allowed = whose.status();
  if (allowed.ok()) allowed = MayGive(actor, type, *whose, patch);
  if (allowed.ok()) allowed = MayTouch(actor, type, *whose, id);
  if (!allowed.ok()) {
    return Refused(actor, fmt::format("{}:update", type.name), type.singular, id, allowed);
  }
  const std::string details = Members(patch);
  const int64_t now = UnixSeconds(clock_.Wall());
  json server = json::object();
  const bool other_rights =
      type.name == "users" && patch.is_object() &&
      (patch.contains("status") || patch.contains("role") || patch.contains("password"));
  WEFT_RETURN_IF_ERROR(TakePassword(type, patch, server));
  WEFT_RETURN_IF_ERROR(CheckValue(type, id, patch));
  if (other_rights) server["tokens_from"] = now;  // they sign in again
  ordered_json changed;
  WEFT_RETURN_IF_ERROR(
      Write(actor, type, *whose, "update", std::string(id), details,
            [&](Session& session, std::string&) -> absl::Status {
              WEFT_ASSIGN_OR_RETURN(
                  changed, store::UpdateResource(session, type, *whose, id, patch, server, now));
              return absl::OkStatus();
            }));
  return changed;
}

absl::Status ResourceAdmin::Remove(const Actor& actor, const ResourceType& type,
                                   std::string_view tenant, std::string_view id) {
  auto whose = TenantOf(actor, type, tenant, id);
  absl::Status allowed = whose.status();
  if (allowed.ok()) allowed = MayTouch(actor, type, *whose, id);
  if (!allowed.ok()) {
    return Refused(actor, fmt::format("{}:delete", type.name), type.singular, id, allowed);
  }
  return Write(
      actor, type, *whose, "delete", std::string(id), "", [&](Session& session, std::string&) {
        return store::RemoveResource(session, type, *whose, id, UnixSeconds(clock_.Wall()));
      });
}

absl::StatusOr<ordered_json> ResourceAdmin::Usage(const Actor& actor, std::string_view tenant,
                                                  const store::UsageFilter& filter) {
  auto whose = TenantOf(actor, *store::FindResourceType("projects"), tenant, {});
  if (!whose.ok()) return Refused(actor, "usage:read", "usage", {}, whose.status());
  std::vector<store::UsageSum> sums;
  const absl::Status status =
      database_->Read(ScopeOf(*whose), [&](Session& session) -> absl::Status {
        WEFT_ASSIGN_OR_RETURN(sums, store::SumUsage(session, filter));
        return absl::OkStatus();
      });
  if (!status.ok()) return Shown(status);
  std::vector<ordered_json> data;
  for (const store::UsageSum& sum : sums) {
    ordered_json one;
    for (size_t i = 0; i < sum.group.size(); ++i) one[filter.group_by[i]] = sum.group[i];
    one["requests"] = sum.requests;
    one["prompt_tokens"] = sum.prompt_tokens;
    one["cached_prompt_tokens"] = sum.cached_prompt_tokens;
    one["completion_tokens"] = sum.completion_tokens;
    one["total_tokens"] = sum.prompt_tokens + sum.completion_tokens;
    one["cost_micros"] = sum.cost_micros;
    data.push_back(std::move(one));
  }
  return ListOf(std::move(data), false);
}

void ResourceAdmin::NoteRead(const Actor& actor, std::string_view tenant, std::string_view action) {
  identity::AuditEvent event =
      AuditOf(actor, clock_.Wall(), std::string(action), "audit", std::string(tenant), "ok");
  audit_.Note(std::move(event));
}

absl::StatusOr<ordered_json> ResourceAdmin::Audit(const Actor& actor, std::string_view tenant,
                                                  store::AuditFilter filter) {
  auto whose = TenantOf(actor, *store::FindResourceType("projects"), tenant, {});
  if (whose.ok() && *whose == "*") whose = std::string();  // the gateway's own chain
  if (!whose.ok()) return Refused(actor, "audit:read", "audit", tenant, whose.status());
  filter.tenant = *whose;
  filter.limit = std::clamp<size_t>(filter.limit, 1, 999) + 1;
  std::vector<store::AuditRow> rows;
  const Scope scope = whose->empty() ? Scope::System() : Scope::Tenant(*whose);
  const absl::Status status = database_->Read(scope, [&](Session& session) -> absl::Status {
    WEFT_ASSIGN_OR_RETURN(rows, store::ReadAudit(session, filter));
    return absl::OkStatus();
  });
  if (!status.ok()) return Shown(status);
  // One row for a reader who turns pages.
  if (filter.after_seq == 0) NoteRead(actor, *whose, "audit:read");
  const bool more = rows.size() >= filter.limit;
  if (more) rows.pop_back();
  std::vector<ordered_json> data;
  for (const store::AuditRow& row : rows)
    data.push_back(ordered_json::parse(store::AuditJson(row)));
  return ListOf(std::move(data), more);
}

absl::StatusOr<ordered_json> ResourceAdmin::VerifyAudit(const Actor& actor, std::string_view tenant,
                                                        std::string_view seen) {
  auto whose = TenantOf(actor, *store::FindResourceType("projects"), tenant, {});
  if (!whose.ok()) return Refused(actor, "audit:verify", "audit", tenant, whose.status());
  std::vector<std::pair<int64_t, std::string>> expected;
  if (!seen.empty()) {
    const size_t colon = seen.find(':');
    int64_t seq = 0;
    std::string hash(32, '\0');
    const bool good =
        colon != std::string_view::npos &&
        std::from_chars(seen.data(), seen.data() + colon, seq).ptr == seen.data() + colon &&
        ParseHex(seen.substr(colon + 1), {reinterpret_cast<uint8_t*>(hash.data()), hash.size()});
    if (!good) {
      return WithField(InvalidArgument("seen: must be a row's number, ':' and its hash"), "seen");
    }
    expected.emplace_back(seq, std::move(hash));
  }
  std::vector<std::string> chains = {*whose};
  if (*whose == "*") {
    chains.clear();
    const absl::Status status =
        database_->Read(Scope::System(), [&](Session& session) -> absl::Status {
          WEFT_ASSIGN_OR_RETURN(const auto heads, store::AuditHeads(session));
          for (const store::AuditHead& head : heads) chains.push_back(head.tenant);
          return absl::OkStatus();
        });
    if (!status.ok()) return Shown(status);
  }
  bool good = true;
  std::vector<ordered_json> data;
  for (const std::string& chain : chains) {
    const auto report = store::VerifyAudit(*database_, chain, audit_.key(), expected);
    if (!report.ok()) return Shown(report.status());
    good = good && report->faults.empty();
    const std::string& hash = report->head.hash;
    data.push_back(
        {{"tenant", chain},
         {"verified", report->faults.empty()},
         {"rows", report->rows},
         {"erased", report->erased},
         {"head", fmt::format("{}:{}", report->head.seq,
                              Hex({reinterpret_cast<const uint8_t*>(hash.data()), hash.size()}))},
         {"faults", report->faults}});
  }
  NoteRead(actor, *whose, "audit:verify");
  ordered_json out = ListOf(std::move(data), false);
  out["verified"] = good;
  return out;
}

}  // namespace weft::gateway
