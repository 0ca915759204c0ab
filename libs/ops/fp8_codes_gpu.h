// FP8 (e4m3) weights as tensor cores want them, and their scales: of matmul_fp8_gpu.h's products.
#pragma once

#include "libs/ops/gpu_kernel.h"
#include "libs/ops/matmul_fp8_gpu.h"
#include "libs/ops/skinny_gpu.h"

namespace weft::gpu {

constexpr int kFp8Block = 128;  // outputs, and columns, that share a block's scale

// Two e4m3 codes, the lower 16 bits of `codes`, as a pair of bf16. Exact.
WEFT_DEVICE uint32_t Fp8Pair(uint32_t codes) {
  return PackBf16x2(ToFloat(E4m3{static_cast<uint8_t>(codes & 0xffu)}),
                    ToFloat(E4m3{static_cast<uint8_t>(codes >> 8 & 0xffu)}));
}
// Four columns of two outputs, the higher of them eight after the lower, as A of an mma.
WEFT_DEVICE void Fp8Fragment(uint32_t low, uint32_t high, uint32_t (&a)[4]) {
  a[0] = Fp8Pair(low), a[1] = Fp8Pair(high), a[2] = Fp8Pair(low >> 16), a[3] = Fp8Pair(high >> 16);
}

// An expert's scales lie where its codes do, as far from the first expert's.
WEFT_DEVICE GlobalPtr<const float> Fp8ScalesAt(const float* first, const SkinnyRows& rows) {
  const GlobalPtr<const uint8_t> bytes = PtrCast<const uint8_t>(GlobalPtr<const float>(first));
  return PtrCast<const float>(bytes + rows.expert_at);
}
// Of kFp8Block columns, and of all outputs that share a block with `output`.
WEFT_DEVICE float Fp8BlockScale(const SkinnyFp8Params& p, const SkinnyRows& rows, int64_t output,
                                int slice) {
  if (p.block == nullptr) return 1.0f;
  const int64_t slices = (p.cols + kFp8Block - 1) / kFp8Block;
  return Fp8ScalesAt(p.block, rows)[output / kFp8Block * slices + slice];
}
WEFT_DEVICE float Fp8ChannelScale(const SkinnyFp8Params& p, const SkinnyRows& rows,
                                  int64_t output) {
  return Fp8ScalesAt(p.channel, rows)[output < p.outputs ? output : p.outputs - 1];
}

}  // namespace weft::gpu
