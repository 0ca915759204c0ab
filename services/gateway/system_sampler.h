// How this gateway and the tenants do, as rows of system_metrics (requirement 002: performance,
// resources, business).
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/store/system_metrics.h"

namespace weft::gateway {

// Counted since the gateway started.
struct ServedTotals {
  uint64_t requests = 0;
  uint64_t failed = 0;  // answered with 5xx
  std::chrono::nanoseconds duration{0};
};

// One thread's.
class SystemSampler {
 public:
  // `gateway`: its id, into the rows' metadata. `folder`: of the file system whose space counts.
  SystemSampler(std::string gateway, std::string folder);

  // performance: throughput (requests/s), response_time_ms (mean), error_rate (0 to 1).
  // resources: cpu_usage (cores), memory_usage (bytes), disk_usage (0 to 1), network_io (bytes/s of
  // the machine). Of the time since the call before; the first gives what needs no earlier one.
  std::vector<store::SystemMetric> Sample(const ServedTotals& served, SteadyTime now,
                                          WallTime wall);

 private:
  struct Point {
    SteadyTime at{};
    ServedTotals served;
    double cpu_seconds = 0;
    double network_bytes = 0;
  };
  const std::string metadata_;
  const std::string folder_;
  std::optional<Point> before_;
};

// business, of every tenant: active_projects, and of the day (UTC) so far requests, tokens,
// cost_micros and cost_per_request_micros. Reads in the system's scope.
absl::StatusOr<std::vector<store::SystemMetric>> SampleTenants(store::Session& session,
                                                               WallTime now);

}  // namespace weft::gateway
