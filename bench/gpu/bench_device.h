// The device that a bench of this folder runs on: a GPU, or the emulator, which says nothing about
// time and lets everything else be tried out.
#pragma once

#include <absl/status/statusor.h>

#include <memory>

#include "libs/device/device.h"

namespace weft::bench {

// Defined once per program.
absl::StatusOr<std::unique_ptr<Device>> OpenBenchDevice(int32_t ordinal);

}  // namespace weft::bench
