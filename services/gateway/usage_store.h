// Usage on its way into the gateway's database, and what quotas read of it.
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
  explicit DatabaseUsageStore(std::shared_ptr<store::Database> database)
      : database_(std::move(database)) {}

  absl::Status Write(std::span<const usage::UsageRow> rows) override;
  absl::StatusOr<uint64_t> UsedSoFar(const limits::Charge& charge) override;

 private:
  const std::shared_ptr<store::Database> database_;
};

}  // namespace weft::gateway
