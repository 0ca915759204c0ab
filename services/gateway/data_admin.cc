#include "services/gateway/data_admin.h"

#include <nlohmann/json.hpp>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/store/resource.h"
#include "libs/store/usage_store.h"
#include "services/gateway/admission.h"

namespace weft::gateway {
namespace {

using identity::Permission;
using store::DataOwner;
using store::Scope;
using store::Session;

constexpr size_t kTextsAtOnce = 200;

bool Crosses(const Actor& actor) { return actor.principal->Can(Permission::kTenantsCross); }

std::string_view TypeOf(const DataOwner& owner) {
  return owner.user_id.empty() ? "tenant" : "user";
}
std::string_view IdOf(const DataOwner& owner) {
  return owner.user_id.empty() ? owner.tenant : owner.user_id;
}

}  // namespace

absl::StatusOr<std::string> DataAdmin::TenantOf(const Actor& actor, std::string_view tenant) const {
  if (tenant.empty() || tenant == actor.principal->tenant) return actor.principal->tenant;
  if (Crosses(actor)) return std::string(tenant);
  return WithField(PermissionDenied("You may act on your own tenant alone."), "tenant");
}

store::AuditRow DataAdmin::Row(const Actor& actor, std::string_view tenant, std::string_view action,
                               std::string_view type, std::string_view id) const {
  identity::AuditEvent event = AuditOf(actor, clock_.Wall(), std::string(action), std::string(type),
                                       std::string(id.substr(0, 100)), "ok");
  event.tenant = tenant;
  return ToAuditRow(std::move(event));
}

absl::Status DataAdmin::Refused(const Actor& actor, std::string_view action, std::string_view id,
                                const absl::Status& status) {
  const bool denied = status.code() == absl::StatusCode::kPermissionDenied;
  audit_
      .Keep(AuditOf(actor, clock_.Wall(), std::string(action), "data",
                    std::string(id.substr(0, 100)), denied ? "denied" : "failed"))
      .IgnoreError();
  return denied ? status : StoreTrouble("an administrative call failed", status);
}

absl::Status DataAdmin::Export(const Actor& actor, DataOwner owner,
                               const std::function<absl::Status(std::string_view)>& line) {
  auto tenant = TenantOf(actor, owner.tenant);
  if (!tenant.ok()) return Refused(actor, "data:export", owner.tenant, tenant.status());
  owner.tenant = *std::move(tenant);
  // Before anything is given out.
  const absl::Status kept = database_->Write(Scope::Tenant(owner.tenant), [&](Session& session) {
    return store::AppendAudit(session,
                              {Row(actor, owner.tenant, "data:export", TypeOf(owner), IdOf(owner))},
                              audit_.key());
  });
  if (!kept.ok()) return Refused(actor, "data:export", IdOf(owner), kept);
  const absl::Status status = store::ExportData(*database_, owner, line, &secrets_);
  return status.code() == absl::StatusCode::kResourceExhausted ||
                 status.code() == absl::StatusCode::kCancelled
             ? status
             : StoreTrouble("data could not be exported", status);
}

absl::StatusOr<store::Erased> DataAdmin::Erase(const Actor& actor, DataOwner owner) {
  auto tenant = TenantOf(actor, owner.tenant);
  absl::Status allowed = tenant.status();
  if (allowed.ok() && owner.user_id.empty() && !Crosses(actor)) {
    allowed = PermissionDenied("A tenant is erased by the operators.");
  }
  if (!allowed.ok()) return Refused(actor, "audit:erase", IdOf(owner), allowed);
  owner.tenant = *std::move(tenant);
  store::Erased erased;
  const store::AuditRow row =
      Row(actor, owner.tenant, store::kAuditErase, TypeOf(owner), IdOf(owner));
  const absl::Status status =
      database_->Write(Scope::Tenant(owner.tenant), [&](Session& session) -> absl::Status {
        WEFT_ASSIGN_OR_RETURN(erased, store::EraseData(session, owner, row, audit_.key(),
                                                       UnixSeconds(clock_.Wall())));
        return absl::OkStatus();
      });
  if (!status.ok()) return Refused(actor, store::kAuditErase, IdOf(owner), status);
  return erased;
}

absl::StatusOr<DataAdmin::Rotated> DataAdmin::RotateKeys(const Actor& actor,
                                                         std::string_view tenant, bool data_keys) {
  auto whose = TenantOf(actor, tenant);
  if (!whose.ok()) return Refused(actor, "encryption:rotate", tenant, whose.status());
  if (!secrets_.available()) {
    return FailedPrecondition("No master key is configured (gateway.master_keys).");
  }
  const bool all = *whose == "*";
  const Scope scope = all ? Scope::System() : Scope::Tenant(*whose);
  const std::string chain = all ? actor.principal->tenant : *whose;
  Rotated done;
  std::vector<std::string> tenants = {*whose};
  absl::Status status = database_->Write(scope, [&](Session& session) -> absl::Status {
    WEFT_ASSIGN_OR_RETURN(done.data_keys, secrets_.RewrapKeys(session));
    if (all) {
      tenants.clear();
      WEFT_ASSIGN_OR_RETURN(const store::Result found,
                            session.Run("SELECT DISTINCT tenant FROM secrets ORDER BY tenant"));
      for (const store::Row& row : found.rows) tenants.push_back(row.Text(0));
    }
    return store::AppendAudit(
        session, {Row(actor, chain, "encryption:rotate", "data_keys", *whose)}, audit_.key());
  });
  for (size_t i = 0; status.ok() && data_keys && i < tenants.size(); ++i) {
    int64_t sealed = 1;
    for (bool first = true; status.ok() && (first || sealed > 0); first = false) {
      status = database_->Write(Scope::Tenant(tenants[i]), [&](Session& session) -> absl::Status {
        WEFT_ASSIGN_OR_RETURN(sealed, secrets_.Reseal(session, tenants[i], first, kTextsAtOnce,
                                                      UnixSeconds(clock_.Wall())));
        return absl::OkStatus();
      });
      done.texts += status.ok() ? sealed : 0;
    }
  }
  if (!status.ok()) return Refused(actor, "encryption:rotate", *whose, status);
  return done;
}

absl::StatusOr<Pruned> DataAdmin::Prune(const Actor& actor, std::string_view tenant,
                                        int64_t usage_days, int64_t audit_days) {
  auto whose = TenantOf(actor, tenant);
  if (!whose.ok()) return Refused(actor, store::kAuditPrune, tenant, whose.status());
  Pruned pruned;
  const absl::Status status =
      database_->Write(Scope::Tenant(*whose), [&](Session& session) -> absl::Status {
        WEFT_ASSIGN_OR_RETURN(
            pruned, PruneTenant(session, *whose, {.usage = usage_days, .audit = audit_days},
                                clock_.Wall(), Row(actor, *whose, "", "", ""), audit_.key()));
        return absl::OkStatus();
      });
  if (!status.ok()) return Refused(actor, store::kAuditPrune, *whose, status);
  return pruned;
}

}  // namespace weft::gateway
