#include "bench/gpu/bench_device.h"
#include "libs/device/cuda_device.h"

namespace weft::bench {

absl::StatusOr<std::unique_ptr<Device>> OpenBenchDevice(int32_t ordinal) {
  return OpenCudaDevice(ordinal);
}

}  // namespace weft::bench
