#include "libs/device/cuda_device.h"
#include "libs/ops/gpu_context.h"
#include "tests/unit/model/gpu_rig.h"

namespace weft::test {

std::shared_ptr<OpDevice> MakeOpDevice(uint64_t, gpu::Numerics numerics) {
  return GpuContext::Create(OpenCudaDevice(0).value(), numerics).value();
}

}  // namespace weft::test
