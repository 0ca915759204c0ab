// What the kernels of skinny products share: a block's tile of outputs, and the sum of its warps.
#pragma once

#include "libs/ops/gpu_kernel.h"
#include "libs/ops/matmul_gpu.h"

namespace weft::gpu {

constexpr int kMatmulWarps = 8;
constexpr int kMatmulThreads = kMatmulWarps * kWarp;
constexpr int kTile = 16;   // outputs of a block
constexpr int kColumn = 8;  // rows of x in one mma

// The rows of x that a block multiplies, and the expert whose weights they meet.
struct SkinnyRows {
  int first = 0;
  int end = 0;            // first where there is nothing to do
  int64_t expert_at = 0;  // bytes from the first expert's weights
};
template <int kRows, typename P>
WEFT_DEVICE SkinnyRows RowsOfBlock(const P& p) {
  const int index = static_cast<int>(blockIdx.y);
  if (p.experts.tiles == nullptr) return {index * kRows, p.rows, 0};
  const ExpertTile tile = GlobalPtr<const ExpertTile>(p.experts.tiles)[index];
  return {tile.first, tile.first + tile.rows, tile.expert * p.experts.bytes};
}

// Sums of all warps, ascending, and the bias; out.
template <int kColumns, typename P>
WEFT_DEVICE void StoreTile(const P& p, const SkinnyRows& rows, const float (&sums)[kColumns][4],
                           SharedPtr<float> parts) {
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
    const int64_t row = rows.first + column;
    if (output >= p.outputs || row >= rows.end) continue;
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kMatmulWarps; ++w) sum += parts[(w * kWide + column) * kPitch + n];
    if (p.bias != nullptr) sum += GlobalPtr<const float>(p.bias)[output];
    GlobalPtr<float>(p.out)[row * p.outputs + output] = sum;
  }
}

// Whether no block has more than kColumn rows.
template <typename P>
bool FewRows(const P& p) {
  return (p.experts.tiles == nullptr ? p.rows : p.experts.tile_rows) <= kColumn;
}

template <int kColumns>
constexpr uint32_t PartsBytes() {
  return kMatmulWarps * kColumns * kColumn * (kTile + 4) * 4;
}

template <int kColumns, typename P>
LaunchShape Shape(const P& p, uint32_t shared_bytes, const char* name) {
  const int32_t rows = kColumns * kColumn;
  const int32_t tiles = p.experts.tiles == nullptr ? (p.rows + rows - 1) / rows : p.experts.count;
  return {
      dim3(static_cast<uint32_t>((p.outputs + kTile - 1) / kTile), static_cast<uint32_t>(tiles)),
      kMatmulThreads, shared_bytes, name};
}

}  // namespace weft::gpu
