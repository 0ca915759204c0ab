// database.h over SQLite: one connection writes, others read beside it (WAL).
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "libs/store/database.h"

namespace weft::store {

absl::StatusOr<std::unique_ptr<Database>> OpenSqlite(const std::string& path,
                                                     const DatabaseOptions& options);

}  // namespace weft::store
