#include "libs/device/emulated_device.h"
#include "libs/device/simt/launch.h"
#include "libs/ops/gpu_context.h"
#include "tests/unit/model/gpu_rig.h"

namespace weft::test {

std::shared_ptr<OpDevice> MakeOpDevice(uint64_t memory_bytes, gpu::Numerics numerics) {
  // The kernels' own tests look for races and count; a whole model would take minutes with it.
  simt::LaunchOptions().races = false;
  simt::LaunchOptions().counts = false;
  return GpuContext::Create(std::make_unique<EmulatedDevice>(EmulatedDevice::Options{
                                .memory_bytes = memory_bytes, .lazy = true}),
                            numerics)
      .value();
}

}  // namespace weft::test
