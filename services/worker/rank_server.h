// A worker's process that is not rank 0: it has a part of the model and no sessions.
#pragma once

#include <absl/status/status.h>

#include "libs/telemetry/telemetry.h"
#include "services/worker/config.h"

namespace weft::worker {

// Loads this rank's part, finds the others and follows rank 0 until that ends (OK) or the group
// does. After SIGTERM it goes on for rank 0, which may have streams, within worker.drain_timeout.
absl::Status RunRank(const Config& config, const telemetry::Config& telemetry);

}  // namespace weft::worker
