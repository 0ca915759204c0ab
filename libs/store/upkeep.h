// Work that is due from time to time, for one of several gateways each time.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/store/database.h"

namespace weft::store {

// True for the one caller whose turn it is: the next turn of `task` is `interval` from now. Who
// dies in it leaves the work to the next one.
absl::StatusOr<bool> TakeTurn(Database& database, std::string_view task, WallTime now,
                              std::chrono::milliseconds interval);

}  // namespace weft::store
