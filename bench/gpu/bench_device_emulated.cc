#include "bench/gpu/bench_device.h"
#include "libs/device/emulated_device.h"
#include "libs/device/simt/launch.h"

namespace weft::bench {

absl::StatusOr<std::unique_ptr<Device>> OpenBenchDevice(int32_t) {
  simt::LaunchOptions().races = false;
  simt::LaunchOptions().counts = false;
  return std::unique_ptr<Device>(std::make_unique<EmulatedDevice>());
}

}  // namespace weft::bench
