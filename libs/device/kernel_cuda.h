// kernel.h's half for nvcc. See kernel.h for what each name means.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

// The parentheses let a kernel say WEFT_KERNEL() where it has no bounds.
#define WEFT_KERNEL(...) __global__ __launch_bounds__(__VA_ARGS__)
#define WEFT_DEVICE __device__ __forceinline__
#define WEFT_PARAMS __grid_constant__
#define WEFT_UNROLL _Pragma("unroll")
#define WEFT_SHARED(T, name, count) __shared__ T name[count]
#define WEFT_DYNAMIC_SHARED(T, name)                                            \
  extern __shared__ __align__(1024) unsigned char weft_dynamic_shared_memory[]; \
  T* const name = reinterpret_cast<T*>(weft_dynamic_shared_memory)

namespace weft::gpu {

template <typename T>
using GlobalPtr = T*;
template <typename T>
using SharedPtr = T*;

template <typename U, typename T>
WEFT_HOST_DEVICE U* PtrCast(T* p) {
  return reinterpret_cast<U*>(p);
}

using DeviceStream = cudaStream_t;
using DeviceError = cudaError_t;
inline const char* DescribeDeviceError(DeviceError error) { return cudaGetErrorString(error); }

struct LaunchShape {
  dim3 grid;
  dim3 block;
  uint32_t shared_bytes = 0;  // dynamic
  const char* name = nullptr;
};

// Never allocates and never waits. More than 48 KB of shared memory: AllowSharedBytes() at load.
template <typename... P, typename... A>
DeviceError Launch(void (*kernel)(P...), const LaunchShape& shape, DeviceStream stream,
                   const A&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, P(arguments)...);
}

template <typename... P>
DeviceError AllowSharedBytes(void (*kernel)(P...), uint32_t bytes) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                              cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}

}  // namespace weft::gpu
