// Cases of a warpgroup's matrices: wgmma, its operands brought by TMA. See primitive_cases.h.
#pragma once

#include "tests/support/primitive_case.h"

namespace weft::gpu::primitive {

// --- A [64, 128 bytes], then B of 64 columns

// B is [64, 128 bytes] K-major, or [64, 64] N-major (16-bit types only).
template <typename T, bool kTransB, bool kFromRegisters>
WEFT_KERNEL(128, 1)
void WgmmaKernel(const WEFT_PARAMS PrimitiveParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  WEFT_SHARED(uint64_t, barrier, 1);
  if (threadIdx.x == 0) {
    MbarrierInit(barrier, 1);
    FenceMbarrierInit();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    MbarrierArriveExpect(barrier, 16384);
    TensorLoad(tile, p.map, barrier, 0, 0);
    TensorLoad(tile + 2048, p.map, barrier, 0, 64);
  }
  MbarrierWait(barrier, 0);
  std::conditional_t<std::is_same_v<T, int8_t>, int32_t, float> d[32];
  for (int i = 0; i < 32; ++i) d[i] = 0;
  const uint64_t a = MakeDescriptor(tile, 16, 1024, Swizzle::k128);
  const uint64_t b = MakeDescriptor(tile + 2048, kTransB ? 8192 : 16, 1024, Swizzle::k128);
  const uint32_t row = threadIdx.x / 32 * 16 + LaneId() / 4;
  const uint32_t t = threadIdx.x % 4;
  uint32_t fragments[4][4];
  if constexpr (kFromRegisters) {
    for (uint32_t k = 0; k < 4; ++k) {
      for (uint32_t i = 0; i < 4; ++i) {
        fragments[k][i] = p.in[(row + i % 2 * 8) * 32 + k * 8 + i / 2 * 4 + t];
      }
    }
  }
  WgmmaFence();
  WEFT_UNROLL
  for (uint32_t k = 0; k < 4; ++k) {
    // 32 bytes further along K: within the swizzle's row, or 16 rows down.
    const uint64_t next_a = a + 2 * k;
    const uint64_t next_b = b + (kTransB ? 128 : 2) * k;
    if constexpr (kFromRegisters) {
      if constexpr (std::is_same_v<T, Bf16>) {
        WgmmaBf16<64, kTransB>(d, fragments[k], next_b, k > 0);
      } else {
        WgmmaS8<64>(d, fragments[k], next_b, k > 0);
      }
    } else if constexpr (std::is_same_v<T, Bf16>) {
      WgmmaBf16<64, false, kTransB>(d, next_a, next_b, k > 0);
    } else if constexpr (std::is_same_v<T, Half>) {
      WgmmaHalf<64, false, kTransB>(d, next_a, next_b, k > 0);
    } else if constexpr (std::is_same_v<T, E4m3>) {
      WgmmaE4m3<64>(d, next_a, next_b, k > 0);
    } else {
      WgmmaS8<64>(d, next_a, next_b, k > 0);
    }
  }
  WgmmaCommit();
  WgmmaWait<0>();
  for (uint32_t i = 0; i < 32; ++i) {
    p.out[(row + i / 2 % 2 * 8) * 64 + i / 4 * 8 + 2 * t + i % 2] = Bits(d[i]);
  }
}
template <typename T, bool kTransB>
std::vector<uint32_t> ExpectWgmma(const std::vector<uint32_t>& in) {
  const size_t depth = 128 / sizeof(T);
  std::vector<uint32_t> out(64 * 64);
  for (size_t row = 0; row < 64; ++row) {
    for (size_t column = 0; column < 64; ++column) {
      double sum = 0;
      for (size_t k = 0; k < depth; ++k) {
        const size_t b = 64 * depth + (kTransB ? k * 64 + column : column * depth + k);
        sum += Number<T>(in, row * depth + k) * Number<T>(in, b);
      }
      out[row * 64 + column] = SumBits<T>(sum);
    }
  }
  return out;
}

}  // namespace weft::gpu::primitive
