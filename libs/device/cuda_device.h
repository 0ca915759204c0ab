// The Device of an NVIDIA GPU. Built with WEFT_CUDA only; a binary that has it runs on machines
// without a driver too, where OpenCudaDevice says what it looked for.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <string_view>

#include "libs/device/device.h"

namespace weft {

// The GPU of this number among those that the process may see (CUDA_VISIBLE_DEVICES). kUnavailable
// without a driver or a GPU, kInvalidArgument for a number out of range, kFailedPrecondition for a
// GPU that this build has no code for.
absl::StatusOr<std::unique_ptr<Device>> OpenCudaDevice(int32_t ordinal);

// How many GPUs this process may see; an error as above when there is no driver.
absl::StatusOr<int32_t> CudaDeviceCount();

}  // namespace weft
