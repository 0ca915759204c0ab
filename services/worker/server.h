// The worker as a process.
#pragma once

#include <absl/status/status.h>

#include "libs/telemetry/telemetry.h"
#include "services/worker/config.h"

namespace weft::worker {

// Loads the models, serves until SIGTERM or SIGINT, then drains: no new work, running sequences end
// within worker.drain_timeout, the rest moves to other workers. Returns OK then.
absl::Status Run(const Config& config, const telemetry::Config& telemetry);

}  // namespace weft::worker
