#include "services/gateway/key_admin.h"

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/gateway/admission.h"

namespace weft::gateway {
namespace {

using identity::Permission;

const telemetry::Logger kLog("gateway.keys");

bool Crosses(const Actor& actor) { return actor.principal->Can(Permission::kTenantsCross); }

}  // namespace

absl::Status KeyAdmin::MayTouch(const Actor& actor, std::string_view id) {
  if (Crosses(actor)) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const auto record, keys_.Find(id));
  if (!record || record->tenant != actor.principal->tenant) {
    return NotFound("there is no key with the id '{}'", id);
  }
  return absl::OkStatus();
}

absl::Status KeyAdmin::MayGive(const Actor& actor, const identity::NewKey& key) {
  WEFT_RETURN_IF_ERROR(WithField(identity::CheckTenant(*actor.principal, key.tenant), "tenant"));
  WEFT_ASSIGN_OR_RETURN(const identity::Principal made, keys_.Preview(key));
  return MayHold(actor, made);
}

absl::Status KeyAdmin::MayHold(const Actor& actor, const identity::Principal& key) {
  const identity::PermissionSet more = key.permissions - actor.principal->permissions;
  if (more.empty()) return absl::OkStatus();
  return WithField(PermissionDenied("A key may not do more than who makes it; you lack {}.",
                                    fmt::join(identity::PermissionNames(more), ", ")),
                   "role");
}

absl::Status KeyAdmin::Settle(const Actor& actor, std::string_view action, std::string_view id,
                              absl::Status status) {
  const bool denied = status.code() == absl::StatusCode::kPermissionDenied;
  const absl::Status kept =
      audit_.Keep(AuditOf(actor, clock_.Wall(), std::string(action), "api_key", std::string(id),
                          status.ok() ? "ok"
                          : denied    ? "denied"
                                      : "failed"));
  status = StoreTrouble("an act on keys failed", status);
  if (!status.ok() || kept.ok()) return status;
  return StoreTrouble("the audit of an act on keys could not be kept", kept);
}

absl::StatusOr<identity::CreatedKey> KeyAdmin::Create(const Actor& actor, identity::NewKey key) {
  if (key.requests_per_minute == 0) key.requests_per_minute = default_rate_;
  if (key.tenant.empty()) key.tenant = Crosses(actor) ? "default" : actor.principal->tenant;
  absl::StatusOr<identity::CreatedKey> created = identity::CreatedKey();
  if (absl::Status status = MayGive(actor, key); !status.ok()) {
    created = std::move(status);
  } else {
    created = keys_.Create(key);
  }
  const std::string id = created.ok() ? created->record.id : std::string();
  if (absl::Status status = Settle(actor, "keys:create", id, created.status()); !status.ok()) {
    // A key that nobody will hear of must not be in force.
    if (created.ok()) keys_.Revoke(id).IgnoreError();
    return status;
  }
  kLog.Info("key created", {{"request_id", actor.request_id},
                            {"user_id", actor.principal->key_id},
                            {"key_id", id},
                            {"tenant", created->record.tenant},
                            {"role", created->record.role}});
  return created;
}

absl::StatusOr<std::vector<store::KeyRecord>> KeyAdmin::List(const Actor& actor,
                                                             std::string_view tenant) {
  if (!Crosses(actor)) {
    if (tenant.empty()) tenant = actor.principal->tenant;
    WEFT_RETURN_IF_ERROR(WithField(identity::CheckTenant(*actor.principal, tenant), "tenant"));
  }
  auto keys = keys_.List(tenant);
  if (!keys.ok()) return StoreTrouble("keys could not be listed", keys.status());
  return keys;
}

absl::StatusOr<identity::CreatedKey> KeyAdmin::Rotate(const Actor& actor, std::string_view id,
                                                      std::chrono::seconds overlap) {
  absl::StatusOr<identity::CreatedKey> created = identity::CreatedKey();
  absl::Status may = MayTouch(actor, id);
  if (may.ok()) {
    // Whoever gets the successor's secret may do what it may.
    const auto held = keys_.PrincipalOf(id);
    may = held.ok() ? MayHold(actor, **held) : held.status();
  }
  if (may.ok()) {
    created = keys_.Rotate(id, overlap);
  } else {
    created = std::move(may);
  }
  if (absl::Status status = Settle(actor, "keys:rotate", id, created.status()); !status.ok()) {
    if (created.ok()) keys_.Revoke(created->record.id).IgnoreError();
    return status;
  }
  kLog.Info("key rotated", {{"request_id", actor.request_id},
                            {"user_id", actor.principal->key_id},
                            {"key_id", id},
                            {"new_key_id", created->record.id}});
  return created;
}

absl::Status KeyAdmin::Revoke(const Actor& actor, std::string_view id) {
  absl::Status status = MayTouch(actor, id);
  if (status.ok()) status = keys_.Revoke(id);
  WEFT_RETURN_IF_ERROR(Settle(actor, "keys:revoke", id, std::move(status)));
  kLog.Info(
      "key revoked",
      {{"request_id", actor.request_id}, {"user_id", actor.principal->key_id}, {"key_id", id}});
  return absl::OkStatus();
}

}  // namespace weft::gateway
