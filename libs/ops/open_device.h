// Where a model computes, by the name that configurations and command lines give it.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string_view>

#include "libs/ops/matmul_tiled_gpu.h"
#include "libs/ops/op_device.h"

namespace weft {

// "cpu": null, the host. "cuda" or "cuda:2": a device of its own for one model on that GPU.
// kInvalidArgument for other names and numbers that no GPU has; kUnavailable, with what was looked
// for, when there is no driver or this build has no CUDA engine.
absl::StatusOr<std::shared_ptr<OpDevice>> OpenOpDevice(
    std::string_view name, gpu::Numerics numerics = gpu::Numerics::kExact);

// kInvalidArgument for what OpenOpDevice knows no kind of.
absl::Status CheckDeviceName(std::string_view name);

}  // namespace weft
