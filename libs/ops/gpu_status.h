// Launch results as absl::Status.
#pragma once

#include <absl/status/status.h>

#include "libs/ops/gpu_launch.h"

namespace weft::gpu {

// OK, or kInternal with the kernel's name, its launch shape and the runtime's words.
absl::Status ToStatus(const LaunchResult& result);

}  // namespace weft::gpu
