// See matmul_fp8_gpu.h for the mathematics. Dynamic shared memory, for deploy/ci/check_kernels.py:
// occupancy: SkinnyFp8Kernel<1>, shared 5120
// occupancy: SkinnyFp8Kernel<2>, shared 10240
#include "libs/device/ptx.h"
#include "libs/ops/fp8_codes_gpu.h"
#include "libs/ops/gpu_kernel.h"
#include "libs/ops/matmul_fp8_gpu.h"
#include "libs/ops/skinny_gpu.h"

namespace weft::gpu {

constexpr int kSlice = kFp8Block;
constexpr int kGroups = kSlice / 32;

template <int kColumns>
WEFT_KERNEL(kMatmulThreads, 2)
void SkinnyFp8Kernel(const SkinnyFp8Params p) {
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  const int g = Lane() / 4;
  const int t = Lane() % 4;
  const int64_t first_output = static_cast<int64_t>(blockIdx.x) * kTile;
  const int64_t last = p.outputs - 1;
  const int cols = static_cast<int>(p.cols);
  const int slices = (cols + kSlice - 1) / kSlice;
  const auto output = [&](int row) {
    const int64_t n = first_output + row;
    return n < last ? n : last;
  };
  const SkinnyRows rows = RowsOfBlock<kColumns * kColumn>(p);
  if (rows.first == rows.end) return;
  const GlobalPtr<const uint8_t> weights = GlobalPtr<const uint8_t>(p.weights) + rows.expert_at;
  const GlobalPtr<const uint8_t> low = weights + output(g) * p.cols;
  const GlobalPtr<const uint8_t> high = weights + output(g + 8) * p.cols;
  const GlobalPtr<const uint16_t> x(p.x);
  float sums[kColumns][4] = {};
#pragma unroll 1
  for (int slice = WarpId(); slice < slices; slice += kMatmulWarps) {
    uint2 c[kGroups], d[kGroups];
    uint4 v[kColumns][kGroups];
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      const int at = slice * kSlice + 32 * i + 8 * t;
      const bool there = at < cols;
      c[i] = there ? PtrCast<const uint2>(low + at)[0] : make_uint2(0, 0);
      d[i] = there ? PtrCast<const uint2>(high + at)[0] : make_uint2(0, 0);
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        const int row = rows.first + j * kColumn + g;
        v[j][i] = there && row < rows.end
                      ? PtrCast<const uint4>(x + static_cast<int64_t>(row) * p.cols + at)[0]
                      : make_uint4(0, 0, 0, 0);
      }
    }
    float dot[kColumns][4] = {};
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      uint32_t first[4], second[4];
      Fp8Fragment(c[i].x, d[i].x, first);
      Fp8Fragment(c[i].y, d[i].y, second);
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        const uint32_t b[2] = {v[j][i].x, v[j][i].y};
        const uint32_t e[2] = {v[j][i].z, v[j][i].w};
        MmaBf16(dot[j], first, b);
        MmaBf16(dot[j], second, e);
      }
    }
    const float scale = Fp8BlockScale(p, rows, first_output, slice);
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
#pragma unroll
      for (int r = 0; r < 4; ++r) sums[j][r] = __fmaf_rn(scale, dot[j][r], sums[j][r]);
    }
  }
  if (p.channel != nullptr) {
    const float of_low = Fp8ChannelScale(p, rows, first_output + g);
    const float of_high = Fp8ChannelScale(p, rows, first_output + g + 8);
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
#pragma unroll
      for (int r = 0; r < 4; ++r) sums[j][r] *= r < 2 ? of_low : of_high;
    }
  }
  StoreTile<kColumns>(p, rows, sums, PtrCast<float>(shared));
}

LaunchResult SkinnyFp8(const SkinnyFp8Params& p, void* stream) {
  if (p.rows == 0 || p.outputs == 0) return {};
  if (p.cols % 16 != 0) return {.error = "cols", .kernel = "skinny_fp8"};
  if (p.experts.tile_rows > 2 * kColumn) return {.error = "tile_rows", .kernel = "skinny_fp8"};
  if (FewRows(p)) {
    return Run(SkinnyFp8Kernel<1>, Shape<1>(p, PartsBytes<1>(), "skinny_fp8"), stream, p);
  }
  return Run(SkinnyFp8Kernel<2>, Shape<2>(p, PartsBytes<2>(), "skinny_fp8"), stream, p);
}

}  // namespace weft::gpu
