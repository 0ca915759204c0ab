// Usage, and the audit of what used models, on their way from the journal into the gateway's
// database; and what quotas read of it.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "libs/store/database.h"
#include "libs/store/usage_store.h"
#include "services/gateway/traffic.h"

namespace weft::gateway {

class DatabaseUsageStore final : public UsageStore {
 public:
  // `audit_key`: of the audit's chains.
  explicit DatabaseUsageStore(std::shared_ptr<store::Database> database, std::string audit_key = {})
      : database_(std::move(database)), audit_key_(std::move(audit_key)) {}

  absl::Status Write(std::span<const usage::UsageRow> rows) override;
  absl::Status WriteNotes(std::span<const std::string> notes) override;
  absl::StatusOr<uint64_t> UsedSoFar(const limits::Charge& charge) override;

 private:
  const std::shared_ptr<store::Database> database_;
  const std::string audit_key_;
};

}  // namespace weft::gateway
