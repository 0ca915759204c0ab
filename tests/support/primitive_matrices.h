// Cases of a warp's matrices: ldmatrix, stmatrix, mma.sync. See primitive_cases.h.
#pragma once

#include "tests/support/primitive_case.h"

namespace weft::gpu::primitive {

// --- Four matrices of eight rows of four words

template <bool kTrans>
WEFT_KERNEL(32)
void LoadMatrixKernel(const WEFT_PARAMS PrimitiveParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  for (uint32_t i = threadIdx.x; i < 128; i += 32) tile[i] = p.in[i];
  __syncthreads();
  uint32_t r[4];
  if constexpr (kTrans) {
    LoadMatrixTrans(r, tile + 4 * threadIdx.x);
  } else {
    LoadMatrix(r, tile + 4 * threadIdx.x);
  }
  for (uint32_t i = 0; i < 4; ++i) p.out[32 * i + threadIdx.x] = r[i];
}
template <bool kTrans>
std::vector<uint32_t> ExpectLoadMatrix(const std::vector<uint32_t>& in) {
  const auto element = [&](uint32_t m, uint32_t row, uint32_t column) {
    return in[m * 32 + row * 4 + column / 2] >> (16 * (column % 2)) & 0xffffu;
  };
  std::vector<uint32_t> out(128);
  for (uint32_t m = 0; m < 4; ++m) {
    for (uint32_t lane = 0; lane < 32; ++lane) {
      const uint32_t g = lane / 4;
      const uint32_t c = lane % 4 * 2;
      out[32 * m + lane] = kTrans ? element(m, c, g) | element(m, c + 1, g) << 16
                                  : element(m, g, c) | element(m, g, c + 1) << 16;
    }
  }
  return out;
}

template <bool kTrans>
WEFT_KERNEL(32)
void StoreMatrixKernel(const WEFT_PARAMS PrimitiveParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  uint32_t r[4];
  for (uint32_t i = 0; i < 4; ++i) r[i] = p.in[32 * i + threadIdx.x];
  if constexpr (kTrans) {
    StoreMatrixTrans(tile + 4 * threadIdx.x, r);
  } else {
    StoreMatrix(tile + 4 * threadIdx.x, r);
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < 128; i += 32) p.out[i] = tile[i];
}
template <bool kTrans>
std::vector<uint32_t> ExpectStoreMatrix(const std::vector<uint32_t>& in) {
  std::vector<uint32_t> out(128);
  const auto put = [&](uint32_t m, uint32_t row, uint32_t column, uint32_t value) {
    out[m * 32 + row * 4 + column / 2] |= (value & 0xffffu) << (16 * (column % 2));
  };
  for (uint32_t m = 0; m < 4; ++m) {
    for (uint32_t lane = 0; lane < 32; ++lane) {
      const uint32_t g = lane / 4;
      const uint32_t c = lane % 4 * 2;
      const uint32_t r = in[32 * m + lane];
      put(m, kTrans ? c : g, kTrans ? g : c, r);
      put(m, kTrans ? c + 1 : g, kTrans ? g : c + 1, r >> 16);
    }
  }
  return out;
}

// --- A [16, 8 words], B [8, 8 words], D [16, 8]

template <typename T>
WEFT_KERNEL(32)
void MmaKernel(const WEFT_PARAMS PrimitiveParams p) {
  const uint32_t g = threadIdx.x / 4;
  const uint32_t t = threadIdx.x % 4;
  const GlobalPtr<const uint32_t> columns = p.in + 16 * 8;
  const uint32_t a[4] = {p.in[g * 8 + t], p.in[(g + 8) * 8 + t], p.in[g * 8 + t + 4],
                         p.in[(g + 8) * 8 + t + 4]};
  const uint32_t b[2] = {columns[g * 8 + t], columns[g * 8 + t + 4]};
  std::conditional_t<std::is_same_v<T, int8_t>, int32_t, float> d[4] = {1, 2, 3, 4};
  if constexpr (std::is_same_v<T, Bf16>) MmaBf16(d, a, b);
  if constexpr (std::is_same_v<T, Half>) MmaHalf(d, a, b);
  if constexpr (std::is_same_v<T, E4m3>) MmaE4m3(d, a, b);
  if constexpr (std::is_same_v<T, int8_t>) MmaS8(d, a, b);
  for (uint32_t i = 0; i < 4; ++i) p.out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = Bits(d[i]);
}
template <typename T>
std::vector<uint32_t> ExpectMma(const std::vector<uint32_t>& in) {
  const size_t depth = 32 / sizeof(T);
  std::vector<uint32_t> out(128);
  for (size_t row = 0; row < 16; ++row) {
    for (size_t column = 0; column < 8; ++column) {
      double sum = 1.0 + static_cast<double>(column % 2 + row / 8 * 2);
      for (size_t k = 0; k < depth; ++k) {
        sum += Number<T>(in, row * depth + k) * Number<T>(in, (16 + column) * depth + k);
      }
      out[row * 8 + column] = SumBits<T>(sum);
    }
  }
  return out;
}

}  // namespace weft::gpu::primitive
