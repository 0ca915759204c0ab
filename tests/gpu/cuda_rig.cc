#include "libs/device/cuda_device.h"
#include "tests/unit/ops/gpu/rig.h"

namespace weft::test {

std::unique_ptr<Device> MakeTestDevice() { return OpenCudaDevice(0).value(); }

// A GPU does not count: the emulator's runs of the same cases do.
void RequireCost(double, Conflictless) {}

}  // namespace weft::test
