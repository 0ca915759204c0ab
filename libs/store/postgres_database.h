// database.h over PostgreSQL: a pool of connections that keep no state between transactions, so
// that PgBouncer in transaction mode may stand between.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "libs/store/database.h"

namespace weft::store {

absl::StatusOr<std::unique_ptr<Database>> OpenPostgres(const std::string& url,
                                                       const DatabaseOptions& options);

}  // namespace weft::store
