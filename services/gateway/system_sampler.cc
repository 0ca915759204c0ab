#include "services/gateway/system_sampler.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "libs/base/status.h"
#include "libs/store/usage_store.h"

namespace weft::gateway {
namespace {

double CpuSeconds() {
  rusage used{};
  if (getrusage(RUSAGE_SELF, &used) != 0) return 0;
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// Received and sent on all interfaces but the loopback's: proc(5), /proc/net/dev.
double NetworkBytes() {
  std::ifstream file("/proc/net/dev");
  double sum = 0;
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::istringstream name(line.substr(0, colon)), numbers(line.substr(colon + 1));
    std::string interface;
    name >> interface;
    if (interface == "lo") continue;
    double column = 0;
    for (int i = 0; i < 9 && numbers >> column; ++i) {
      if (i == 0 || i == 8) sum += column;
    }
  }
  return sum;
}

double DiskUsed(const std::string& folder) {
  std::error_code error;
  const auto space = std::filesystem::space(folder.empty() ? "." : folder, error);
  if (error || space.capacity == 0) return 0;
  return 1 - static_cast<double>(space.available) / static_cast<double>(space.capacity);
}

}  // namespace

SystemSampler::SystemSampler(std::string gateway, std::string folder)
    : metadata_(nlohmann::json{{"gateway", std::move(gateway)}}.dump()),
      folder_(std::move(folder)) {}

std::vector<store::SystemMetric> SystemSampler::Sample(const ServedTotals& served, SteadyTime now,
                                                       WallTime wall) {
  const Point point{now, served, CpuSeconds(), NetworkBytes()};
  std::vector<store::SystemMetric> out;
  const auto add = [&](const char* type, const char* name, double value) {
    out.push_back({.tenant = {},
                   .type = type,
                   .name = name,
                   .value = value,
                   .metadata = metadata_,
                   .recorded_at = UnixSeconds(wall)});
  };
  add("resources", "memory_usage", ResidentBytes());
  add("resources", "disk_usage", DiskUsed(folder_));
  const std::optional<Point> before = std::exchange(before_, point);
  const double seconds = before ? Seconds(now - before->at) : 0;
  if (seconds <= 0) return out;
  add("resources", "cpu_usage", std::max(0.0, point.cpu_seconds - before->cpu_seconds) / seconds);
  add("resources", "network_io",
      std::max(0.0, point.network_bytes - before->network_bytes) / seconds);
  const auto requests = static_cast<double>(served.requests - before->served.requests);
  add("performance", "throughput", requests / seconds);
  add("performance", "error_rate",
      requests == 0 ? 0 : static_cast<double>(served.failed - before->served.failed) / requests);
  if (requests > 0) {
    add("performance", "response_time_ms",
        Seconds(served.duration - before->served.duration) * 1000 / requests);
  }
  return out;
}

absl::StatusOr<std::vector<store::SystemMetric>> SampleTenants(store::Session& session,
                                                               WallTime now) {
  std::vector<store::SystemMetric> out;
  const auto add = [&](const std::string& tenant, const char* name, double value) {
    out.push_back({.tenant = tenant,
                   .type = "business",
                   .name = name,
                   .value = value,
                   .recorded_at = UnixSeconds(now)});
  };
  store::UsageFilter today;
  today.from_day = today.until_day = store::UsageDay(UnixNanos(now) / 1000);
  today.group_by = {"tenant"};
  WEFT_ASSIGN_OR_RETURN(const auto sums, store::SumUsage(session, today));
  for (const store::UsageSum& sum : sums) {
    const std::string& tenant = sum.group[0];
    const auto requests = static_cast<double>(sum.requests);
    const auto cost = static_cast<double>(sum.cost_micros);
    add(tenant, "requests", requests);
    add(tenant, "tokens", static_cast<double>(sum.prompt_tokens + sum.completion_tokens));
    add(tenant, "cost_micros", cost);
    if (requests > 0) add(tenant, "cost_per_request_micros", cost / requests);
  }
  WEFT_ASSIGN_OR_RETURN(
      const store::Result projects,
      session.Run("SELECT tenant, COUNT(*) FROM projects GROUP BY tenant ORDER BY tenant"));
  for (const store::Row& row : projects.rows) {
    add(row.Text(0), "active_projects", static_cast<double>(row.Int(1)));
  }
  return out;
}

}  // namespace weft::gateway
