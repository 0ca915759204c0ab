// What the kernels of skinny products share: a block's tile of outputs, and the sum of its warps.
#pragma once

#include "libs/ops/gpu_kernel.h"

namespace weft::gpu {

constexpr int kMatmulWarps = 8;
constexpr int kMatmulThreads = kMatmulWarps * kWarp;
constexpr int kTile = 16;   // outputs of a block
constexpr int kColumn = 8;  // rows of x in one mma

// Sums of all warps, ascending, and the bias; out.
template <int kColumns, typename P>
WEFT_DEVICE void StoreTile(const P& p, const float (&sums)[kColumns][4], SharedPtr<float> parts) {
  constexpr int kWide = kColumns * kColumn;
  constexpr int kPitch = kTile + 4;  // 4 columns apart lie 16 banks apart: no conflict
  const int g = Lane() / 4;
  const int t = Lane() % 4;
  const SharedPtr<float> own = parts + WarpId() * kWide * kPitch;
#pragma unroll
  for (int j = 0; j < kColumns; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      own[(j * kColumn + 2 * t + i % 2) * kPitch + g + i / 2 * 8] = sums[j][i];
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kWide * kTile; i += kMatmulThreads) {
    // A warp reads as the warps wrote: eight outputs of four columns, two apart.
    const int column = i / 128 * kColumn + i / 8 % 4 * 2 + i / 64 % 2;
    const int n = i % 8 + i / 32 % 2 * 8;
    const int64_t output = static_cast<int64_t>(blockIdx.x) * kTile + n;
    const int row = static_cast<int>(blockIdx.y) * kWide + column;
    if (output >= p.outputs || row >= p.rows) continue;
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kMatmulWarps; ++w) sum += parts[(w * kWide + column) * kPitch + n];
    if (p.bias != nullptr) sum += GlobalPtr<const float>(p.bias)[output];
    GlobalPtr<float>(p.out)[row * p.outputs + output] = sum;
  }
}

template <int kColumns>
constexpr uint32_t PartsBytes() {
  return kMatmulWarps * kColumns * kColumn * (kTile + 4) * 4;
}

template <int kColumns, typename P>
LaunchShape Shape(const P& p, uint32_t shared_bytes, const char* name) {
  const int64_t rows = kColumns * kColumn;
  return {dim3(static_cast<uint32_t>((p.outputs + kTile - 1) / kTile),
               static_cast<uint32_t>((p.rows + rows - 1) / rows)),
          kMatmulThreads, shared_bytes, name};
}

}  // namespace weft::gpu
