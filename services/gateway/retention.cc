#include "services/gateway/retention.h"

#include <algorithm>
#include <vector>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/config/binder.h"
#include "libs/store/prompt_store.h"
#include "libs/store/system_metrics.h"
#include "libs/store/usage_store.h"

namespace weft::gateway {
namespace {

using namespace std::chrono_literals;
using store::Scope;
using store::Session;

constexpr int64_t kDayUs = INT64_C(86'400'000'000);
constexpr size_t kAtOnce = 5'000;  // rows of one transaction: others write between

store::AuditRow RowOf(const store::AuditRow& by, std::string_view tenant, std::string_view action,
                      std::string_view type) {
  store::AuditRow row = by;
  row.id = NewRequestId();
  row.tenant = tenant;
  row.action = action;
  row.resource_type = type;
  row.resource_id = tenant;
  return row;
}

// Calls `some`, each time in a transaction of its own, until it takes less than a piece.
// `note` is called with the first piece, where it took something.
absl::StatusOr<int64_t> InPieces(store::Database& database, const Scope& scope,
                                 const std::function<absl::StatusOr<int64_t>(Session&)>& some,
                                 const std::function<absl::Status(Session&)>& note = {}) {
  for (int64_t all = 0;;) {
    int64_t gone = 0;
    WEFT_RETURN_IF_ERROR(database.Write(scope, [&](Session& session) -> absl::Status {
      WEFT_ASSIGN_OR_RETURN(gone, some(session));
      return note && all == 0 && gone > 0 ? note(session) : absl::OkStatus();
    }));
    all += gone;
    if (gone < static_cast<int64_t>(kAtOnce)) return all;
  }
}

// Also tenants that only their rows know, and the gateway's own chain.
absl::StatusOr<std::vector<std::string>> Tenants(store::Database& database) {
  WEFT_ASSIGN_OR_RETURN(
      const store::Result found,
      database.ReadOne(Scope::System(),
                       "SELECT name FROM tenants UNION SELECT tenant_id FROM audit_heads UNION "
                       "SELECT DISTINCT tenant FROM usage_daily",
                       {}));
  std::vector<std::string> out;
  for (const store::Row& row : found.rows) out.push_back(row.Text(0));
  return out;
}

}  // namespace

void Bind(config::Binder& b, RetentionConfig& c) {
  b.Duration("interval", &c.interval, 1s, 720h,
             "between two times that old rows are removed, by one of the gateways of a database");
  b.Int("usage_days", &c.usage_days, 0, kMostDays,
        "rows of usage go after so many days; sums of days stay; 0 = never; a tenant's setting "
        "`retention` overrides it");
  b.Int("audit_days", &c.audit_days, 0, kMostDays,
        "rows of the audit go after so many days; 0 = never");
  b.Int("metrics_days", &c.metrics_days, 0, kMostDays,
        "rows of system_metrics go after so many days; 0 = never");
}

absl::StatusOr<Pruned> PruneTenant(Session& session, std::string_view tenant, const PruneDays& days,
                                   WallTime now, const store::AuditRow& by,
                                   std::string_view audit_key) {
  const int64_t now_us = UnixNanos(now) / 1000;
  Pruned pruned;
  if (days.usage > 0) {
    WEFT_ASSIGN_OR_RETURN(pruned.usage,
                          store::PruneUsage(session, tenant, now_us - days.usage * kDayUs));
    WEFT_RETURN_IF_ERROR(
        store::AppendAudit(session, {RowOf(by, tenant, "usage:prune", "usage")}, audit_key));
  }
  if (days.audit > 0) {
    WEFT_ASSIGN_OR_RETURN(
        pruned.audit, store::PruneAudit(session, tenant, now_us - days.audit * kDayUs,
                                        RowOf(by, tenant, store::kAuditPrune, "audit"), audit_key));
  }
  return pruned;
}

absl::StatusOr<Pruned> PruneAll(store::Database& database, const RetentionConfig& config,
                                int64_t prompt_days, WallTime now, std::string_view audit_key) {
  const int64_t now_us = UnixNanos(now) / 1000;
  const int64_t now_s = UnixSeconds(now);
  Pruned pruned;
  store::AuditRow by;
  by.at_us = now_us;
  by.user_id = "gateway";
  by.outcome = "ok";
  WEFT_ASSIGN_OR_RETURN(const std::vector<std::string> tenants, Tenants(database));
  WEFT_ASSIGN_OR_RETURN(const TenantPolicies policies, TenantPolicies::Load(database));
  for (const std::string& tenant : tenants) {
    const TenantPolicy& own = policies.Of(tenant);
    const Scope scope = tenant.empty() ? Scope::System() : Scope::Tenant(tenant);
    if (const int64_t days = own.usage_days.value_or(config.usage_days); days > 0) {
      WEFT_ASSIGN_OR_RETURN(
          const int64_t gone,
          InPieces(
              database, scope,
              [&](Session& session) {
                return store::PruneUsage(session, tenant, now_us - days * kDayUs, kAtOnce);
              },
              [&](Session& session) {
                return store::AppendAudit(session, {RowOf(by, tenant, "usage:prune", "usage")},
                                          audit_key);
              }));
      pruned.usage += gone;
    }
    // What a tenant does not want kept any more goes too.
    const int64_t days = own.prompt_days.value_or(prompt_days);
    WEFT_ASSIGN_OR_RETURN(const int64_t prompts, InPieces(database, scope, [&](Session& session) {
                            return store::PrunePrompts(
                                session, tenant,
                                days > 0 ? now_s - days * kDayUs / 1'000'000 : now_s + 1, kAtOnce);
                          }));
    pruned.prompts += prompts;
    if (config.audit_days > 0) {
      WEFT_RETURN_IF_ERROR(database.Write(scope, [&](Session& session) -> absl::Status {
        WEFT_ASSIGN_OR_RETURN(
            const Pruned rows,
            PruneTenant(session, tenant, {.audit = config.audit_days}, now, by, audit_key));
        pruned.audit += rows.audit;
        return absl::OkStatus();
      }));
    }
  }
  if (config.metrics_days > 0) {
    WEFT_ASSIGN_OR_RETURN(pruned.metrics,
                          InPieces(database, Scope::System(), [&](Session& session) {
                            return store::PruneSystemMetrics(
                                session, now_s - config.metrics_days * kDayUs / 1'000'000, kAtOnce);
                          }));
  }
  return pruned;
}

}  // namespace weft::gateway
