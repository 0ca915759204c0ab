// What goes by itself when it is old: rows of usage, of the audit, of system_metrics, and prompts.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/store/audit_store.h"
#include "services/gateway/tenant_policy.h"

namespace weft::config {
class Binder;
}

namespace weft::gateway {

struct RetentionConfig {
  std::chrono::milliseconds interval{std::chrono::hours(1)};
  int64_t usage_days = 0;  // 0: for ever, as the others
  int64_t audit_days = 0;
  int64_t metrics_days = 15;
};
void Bind(config::Binder& binder, RetentionConfig& config);

struct Pruned {
  int64_t usage = 0;
  int64_t audit = 0;
  int64_t prompts = 0;
  int64_t metrics = 0;

  int64_t all() const { return usage + audit + prompts + metrics; }
};

// Rows of one tenant that are older than so many days; 0 keeps them. `by` is who does it, as
// AppendAudit takes it; what goes is in the audit with it. In the session's transaction.
struct PruneDays {
  int64_t usage = 0;
  int64_t audit = 0;
};
absl::StatusOr<Pruned> PruneTenant(store::Session& session, std::string_view tenant,
                                   const PruneDays& days, WallTime now, const store::AuditRow& by,
                                   std::string_view audit_key);

// All tenants, as the configuration and their own settings say, in pieces; who did it is "gateway".
// `prompt_days`: of tenants that chose nothing.
absl::StatusOr<Pruned> PruneAll(store::Database& database, const RetentionConfig& config,
                                int64_t prompt_days, WallTime now, std::string_view audit_key);

}  // namespace weft::gateway
