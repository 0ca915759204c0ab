#include "libs/store/quota_store.h"

#include <fmt/format.h>

#include "libs/base/status.h"

namespace weft::store {
namespace {
constexpr size_t kPage = 10'000;
constexpr size_t kMostQuotas = 1'000'000;
}  // namespace

absl::StatusOr<std::vector<QuotaRecord>> ReadQuotas(Database& database) {
  std::vector<QuotaRecord> out;
  const absl::Status status = database.Read(Scope::System(), [&](Session& session) -> absl::Status {
    out.clear();
    for (std::string after;;) {
      WEFT_ASSIGN_OR_RETURN(
          const Result page,
          session.Run(fmt::format("SELECT id, tenant, subject_kind, subject_id, metric, "
                                  "period, soft_limit, hard_limit FROM quotas WHERE id > $1 "
                                  "AND (soft_limit > 0 OR hard_limit > 0) ORDER BY id LIMIT {}",
                                  kPage),
                      {after}));
      for (const Row& row : page.rows) {
        out.push_back({.tenant = row.Text(1),
                       .subject_kind = row.Text(2),
                       .subject_id = row.Text(3),
                       .metric = row.Text(4),
                       .period = row.Text(5),
                       .soft_limit = row.Int(6),
                       .hard_limit = row.Int(7)});
      }
      if (out.size() > kMostQuotas) return ResourceExhausted("more than {} quotas", kMostQuotas);
      if (page.rows.size() < kPage) return absl::OkStatus();
      after = page.rows.back().Text(0);
    }
  });
  if (!status.ok()) return status;
  return out;
}

}  // namespace weft::store
