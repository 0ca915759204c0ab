// The scanner as a process.
#pragma once

#include <absl/status/status.h>

namespace weft::telemetry {
struct Config;
}

namespace weft::scanner {

struct Config;

// Serves until SIGTERM or SIGINT, then drains. OK: it ended in order.
absl::Status Run(const Config& config, const telemetry::Config& telemetry);

}  // namespace weft::scanner
