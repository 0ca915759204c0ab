#include "libs/store/system_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "libs/base/ids.h"
#include "libs/base/status.h"

namespace weft::store {

absl::Status AddSystemMetrics(Session& session, const std::vector<SystemMetric>& metrics) {
  for (const SystemMetric& metric : metrics) {
    if (!session.scope().Covers(metric.tenant)) return PermissionDenied("another tenant's metric");
    if (!std::isfinite(metric.value)) return InvalidArgument("{}: is not finite", metric.name);
    WEFT_RETURN_IF_ERROR(
        session
            .Run("INSERT INTO system_metrics (id, tenant_id, metric_type, metric_name, "
                 "metric_value, metadata, recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
                 {NewRequestId(), metric.tenant, metric.type, metric.name, metric.value,
                  metric.metadata, metric.recorded_at})
            .status());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SystemMetric>> ReadSystemMetrics(Session& session,
                                                            const SystemMetricFilter& filter) {
  if (!session.scope().Covers(filter.tenant)) return PermissionDenied("another tenant's metrics");
  std::string where = "tenant_id = $1";
  Values values = {filter.tenant};
  const auto add = [&](std::string_view condition, Value value) {
    values.push_back(std::move(value));
    where += fmt::format(" AND {} ${}", condition, values.size());
  };
  if (!filter.type.empty()) add("metric_type =", filter.type);
  if (!filter.name.empty()) add("metric_name =", filter.name);
  if (filter.from > 0) add("recorded_at >=", filter.from);
  if (filter.until > 0) add("recorded_at <", filter.until);
  WEFT_ASSIGN_OR_RETURN(
      const Result found,
      session.Run(fmt::format("SELECT tenant_id, metric_type, metric_name, metric_value, metadata, "
                              "recorded_at FROM system_metrics WHERE {} ORDER BY recorded_at DESC, "
                              "id LIMIT {}",
                              where, std::clamp<size_t>(filter.limit, 1, 1000)),
                  values));
  std::vector<SystemMetric> out;
  for (const Row& row : found.rows) {
    out.push_back({.tenant = row.Text(0),
                   .type = row.Text(1),
                   .name = row.Text(2),
                   .value = row[3].Real(),
                   .metadata = row.Text(4),
                   .recorded_at = row.Int(5)});
  }
  return out;
}

absl::StatusOr<int64_t> PruneSystemMetrics(Session& session, int64_t before, size_t limit) {
  WEFT_ASSIGN_OR_RETURN(
      const Result result,
      session.Run(fmt::format("DELETE FROM system_metrics WHERE id IN (SELECT id FROM "
                              "system_metrics WHERE recorded_at < $1 LIMIT {})",
                              limit),
                  {before}));
  return result.changed;
}

}  // namespace weft::store
