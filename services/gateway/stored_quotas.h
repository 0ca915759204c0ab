// The database's quotas in memory, as they change.
#pragma once

#include <absl/status/statusor.h>

#include <memory>

#include "services/gateway/followed.h"
#include "services/gateway/quota_book.h"

namespace weft::gateway {

using StoredQuotas = Followed<QuotaBook>;

absl::StatusOr<std::unique_ptr<StoredQuotas>> FollowQuotas(
    std::shared_ptr<store::Database> database);

}  // namespace weft::gateway
