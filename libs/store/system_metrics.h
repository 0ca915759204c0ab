// The table system_metrics of requirement 002: how the system and its tenants did, over time.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/store/database.h"

namespace weft::store {

struct SystemMetric {
  std::string tenant;           // empty: of the system
  std::string type;             // "performance", "resources", "business"
  std::string name;             // "response_time_ms"
  double value = 0;             // finite
  std::string metadata = "{}";  // a JSON object
  int64_t recorded_at = 0;      // Unix seconds
};

absl::Status AddSystemMetrics(Session& session, const std::vector<SystemMetric>& metrics);

struct SystemMetricFilter {
  std::string tenant;     // whose; empty: the system's
  std::string type = {};  // empty: any, as the name
  std::string name = {};
  int64_t from = 0;   // Unix seconds, inclusive
  int64_t until = 0;  // exclusive; 0: now
  size_t limit = 1000;
};
// The newest first. The session's scope must cover the tenant.
absl::StatusOr<std::vector<SystemMetric>> ReadSystemMetrics(Session& session,
                                                            const SystemMetricFilter& filter);
// Of all in the scope; at most `limit` rows. Returns how many went.
absl::StatusOr<int64_t> PruneSystemMetrics(Session& session, int64_t before, size_t limit);

}  // namespace weft::store
