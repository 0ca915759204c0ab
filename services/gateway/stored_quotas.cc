#include "services/gateway/stored_quotas.h"

#include <utility>

#include "libs/base/status.h"

namespace weft::gateway {

absl::StatusOr<std::unique_ptr<StoredQuotas>> FollowQuotas(
    std::shared_ptr<store::Database> database) {
  return StoredQuotas::Start(std::move(database), store::Topic::kQuotas, "the table of quotas",
                             [](store::Database& from) -> absl::StatusOr<QuotaBook> {
                               WEFT_ASSIGN_OR_RETURN(const auto records, store::ReadQuotas(from));
                               return QuotaBook(records);
                             });
}

}  // namespace weft::gateway
