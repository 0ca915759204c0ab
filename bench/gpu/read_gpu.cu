#include "bench/gpu/read_gpu.h"
#include "libs/ops/gpu_kernel.h"

namespace weft::gpu {

constexpr int kReadThreads = 512;
constexpr int kReadAhead = 4;  // loads of a thread on their way

WEFT_KERNEL(kReadThreads, 1) void ReadKernel(const WEFT_PARAMS ReadParams p) {
  const GlobalPtr<const uint4> from(static_cast<const uint4*>(p.from));
  const uint64_t count = p.bytes / 16;
  const uint64_t apart = static_cast<uint64_t>(gridDim.x) * kReadThreads;
  uint32_t sum = 0;
  uint64_t i = static_cast<uint64_t>(blockIdx.x) * kReadThreads + threadIdx.x;
  for (; i + (kReadAhead - 1) * apart < count; i += kReadAhead * apart) {
    uint4 v[kReadAhead];
#pragma unroll
    for (int j = 0; j < kReadAhead; ++j) v[j] = from[i + static_cast<uint64_t>(j) * apart];
#pragma unroll
    for (int j = 0; j < kReadAhead; ++j) sum += v[j].x + v[j].y + v[j].z + v[j].w;
  }
  for (; i < count; i += apart) {
    const uint4 v = from[i];
    sum += v.x + v.y + v.z + v.w;
  }
  if (sum == 1) GlobalPtr<uint32_t>(p.sum)[0] = sum;
}

LaunchResult Read(const ReadParams& p, void* stream) {
  return Run(ReadKernel, {static_cast<uint32_t>(p.blocks), kReadThreads, 0, "read"}, stream, p);
}

}  // namespace weft::gpu
