// The table of quotas as those who enforce it read it.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "libs/store/database.h"

namespace weft::store {

struct QuotaRecord {
  std::string tenant;
  std::string subject_kind;  // tenant, project, user, key, model
  std::string subject_id;    // empty: each one of the kind
  std::string metric;        // requests, tokens, cost_micros
  std::string period;        // day, month
  int64_t soft_limit = 0;    // 0: none, as hard_limit
  int64_t hard_limit = 0;
};

// Those of every tenant that is not erased. RESOURCE_EXHAUSTED beyond a million.
absl::StatusOr<std::vector<QuotaRecord>> ReadQuotas(Database& database);

}  // namespace weft::store
