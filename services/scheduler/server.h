// The scheduler as a process: everything wired together.
#pragma once

#include <absl/status/status.h>

#include "libs/telemetry/telemetry.h"
#include "services/scheduler/config.h"

namespace weft::scheduler {

// Runs until SIGTERM or SIGINT, then drains: refuses new requests, lets running ones end within
// scheduler.drain_timeout, and returns OK.
absl::Status Run(const Config& config, const telemetry::Config& telemetry);

}  // namespace weft::scheduler
