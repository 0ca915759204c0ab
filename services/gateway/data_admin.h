// Export and erasure of what is stored of a tenant or a person, the rotation of encryption keys and
// the retention of old rows, the same for REST and gRPC. Every act is in the audit before it is
// answered. Blocks for the database.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/store/sealer.h"
#include "libs/store/tenant_data.h"
#include "services/gateway/actor.h"
#include "services/gateway/retention.h"
#include "services/gateway/stored_audit.h"

namespace weft::gateway {

// Thread safe. The parts outlive it. Errors are fit for clients. Others' tenants need
// tenants:cross; a whole tenant is erased by operators alone.
class DataAdmin {
 public:
  DataAdmin(std::shared_ptr<store::Database> database, StoredAudit& audit,
            const store::SecretStore& secrets, Clock& clock = Clock::Real())
      : database_(std::move(database)), audit_(audit), secrets_(secrets), clock_(clock) {}

  // `line`: a JSON object; its first error ends the export, and is returned.
  absl::Status Export(const Actor& actor, store::DataOwner owner,
                      const std::function<absl::Status(std::string_view line)>& line);
  absl::StatusOr<store::Erased> Erase(const Actor& actor, store::DataOwner owner);

  struct Rotated {
    int64_t data_keys = 0;  // wrapped under the current master key
    int64_t texts = 0;      // sealed anew
  };
  // Wraps all data keys under the current master key; with `data_keys`, makes new ones of the
  // tenant ("*": of every tenant that has sealed texts) and seals its texts with them.
  absl::StatusOr<Rotated> RotateKeys(const Actor& actor, std::string_view tenant, bool data_keys);

  // Removes usage and audit rows that are older than so many days; 0 keeps them.
  absl::StatusOr<Pruned> Prune(const Actor& actor, std::string_view tenant, int64_t usage_days,
                               int64_t audit_days);

 private:
  absl::StatusOr<std::string> TenantOf(const Actor& actor, std::string_view tenant) const;
  store::AuditRow Row(const Actor& actor, std::string_view tenant, std::string_view action,
                      std::string_view type, std::string_view id) const;
  absl::Status Refused(const Actor& actor, std::string_view action, std::string_view id,
                       const absl::Status& status);

  const std::shared_ptr<store::Database> database_;
  StoredAudit& audit_;
  const store::SecretStore& secrets_;
  Clock& clock_;
};

}  // namespace weft::gateway
