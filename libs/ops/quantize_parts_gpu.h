// What the kernels that write quantize_gpu.h's FP8 share.
#pragma once

#include "libs/ops/gpu_kernel.h"
#include "libs/ops/quantize_gpu.h"

namespace weft::gpu {

WEFT_DEVICE float LargestOf(float4 v) {
  return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
}
WEFT_DEVICE float WarpLargest(float v) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) {
    v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, apart));
  }
  return v;
}
// In every thread; `parts` holds kThreads / 32 floats and can be used again at once.
template <int kThreads>
WEFT_DEVICE float BlockLargest(float v, SharedPtr<float> parts) {
  v = WarpLargest(v);
  if (Lane() == 0) parts[WarpId()] = v;
  __syncthreads();
  float largest = 0;
#pragma unroll
  for (int w = 0; w < kThreads / kWarp; ++w) largest = fmaxf(largest, parts[w]);
  __syncthreads();
  return largest;
}

WEFT_DEVICE float Fp8Scale(float largest) {
  return largest > 0 ? __fdiv_rn(largest, kFp8Largest) : 1.0f;
}
WEFT_DEVICE uint32_t Fp8Codes(float4 v, float inverse) {
  return PackE4m3x4(__fmul_rn(v.x, inverse), __fmul_rn(v.y, inverse), __fmul_rn(v.z, inverse),
                    __fmul_rn(v.w, inverse));
}
// Vector `i` (of four columns, rows following one another) is this lane's; a warp has the 32
// vectors of a group, or `there` in none of its lanes.
WEFT_DEVICE void StoreFp8Group(const Fp8Out& out, int64_t i, bool there, float4 v) {
  const float scale = Fp8Scale(WarpLargest(there ? LargestOf(v) : 0.0f));
  if (!there) return;
  PtrCast<uint32_t>(GlobalPtr<uint8_t>(out.codes))[i] = Fp8Codes(v, __fdiv_rn(1.0f, scale));
  if (Lane() == 0) GlobalPtr<float>(out.scales)[i / kWarp] = scale;
}

}  // namespace weft::gpu
