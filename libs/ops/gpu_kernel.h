// What all .cu files of this folder share: launching, sums over a warp and a block.
#pragma once

#include "libs/device/kernel.h"
#include "libs/ops/gpu_launch.h"
#ifndef __CUDACC__
#include "libs/base/status.h"
#include "libs/device/emulated_device.h"
#endif

namespace weft::gpu {

constexpr int kWarp = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

// Puts `kernel` on `stream` (a StreamHandle; the emulator also takes null: it then runs at once).
// Kernels that want more than 48 KB of shared memory are told so here: the call is cheap, and legal
// while a graph is captured.
template <typename Params>
LaunchResult Run(void (*kernel)(Params), const LaunchShape& shape, void* stream,
                 const Params& params) {
  LaunchResult result{.kernel = shape.name,
                      .grid = {shape.grid.x, shape.grid.y, shape.grid.z},
                      .block = {shape.block.x, shape.block.y, shape.block.z},
                      .shared_bytes = shape.shared_bytes};
  constexpr uint32_t kSharedWithoutAsking = 48 << 10;
  if (shape.shared_bytes > kSharedWithoutAsking) {
    const DeviceError error = AllowSharedBytes(kernel, shape.shared_bytes);
    if (error != cudaSuccess) {
      result.error = DescribeDeviceError(error);
      return result;
    }
  }
#ifdef __CUDACC__
  const DeviceError error = Launch(kernel, shape, static_cast<DeviceStream>(stream), params);
  if (error != cudaSuccess) result.error = DescribeDeviceError(error);
#else
  if (stream == nullptr) {
    const DeviceError error = Launch(kernel, shape, nullptr, params);
    if (error != cudaSuccess) result.error = DescribeDeviceError(error);
    return result;
  }
  EmulatedDevice::Enqueue(static_cast<StreamHandle>(stream), shape.name,
                          [kernel, shape, params]() -> absl::Status {
                            if (Launch(kernel, shape, nullptr, params) == cudaSuccess) {
                              return absl::OkStatus();
                            }
                            return Internal("{}", simt::LastReport().Text());
                          });
#endif
  return result;
}

WEFT_DEVICE int Lane() { return static_cast<int>(threadIdx.x % kWarp); }
WEFT_DEVICE int WarpId() { return static_cast<int>(threadIdx.x / kWarp); }

WEFT_DEVICE float WarpSum(float v) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) v += __shfl_xor_sync(kAllLanes, v, apart);
  return v;
}

// The sum of all threads' v, in every thread: lanes by halving, then warps ascending. `parts` holds
// kThreads / 32 floats and can be used again at once.
template <int kThreads>
WEFT_DEVICE float BlockSum(float v, SharedPtr<float> parts) {
  v = WarpSum(v);
  if (Lane() == 0) parts[WarpId()] = v;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int w = 0; w < kThreads / kWarp; ++w) sum += parts[w];
  __syncthreads();
  return sum;
}

}  // namespace weft::gpu
