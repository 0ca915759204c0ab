// See matmul_fp8_gpu.h for the mathematics. Dynamic shared memory, for deploy/ci/check_kernels.py:
// occupancy: SkinnyFp8Kernel<1>, shared 5120
// occupancy: SkinnyFp8Kernel<2>, shared 10240
#include "libs/device/ptx.h"
#include "libs/ops/gpu_kernel.h"
#include "libs/ops/matmul_fp8_gpu.h"
#include "libs/ops/skinny_gpu.h"

namespace weft::gpu {

constexpr int kSlice = 128;  // columns that share a block's scale
constexpr int kLaneColumns = 16;

// Two e4m3 codes, the lower 16 bits of `codes`, as a pair of bf16. Exact.
WEFT_DEVICE uint32_t CodePair(uint32_t codes) {
  return PackBf16x2(ToFloat(E4m3{static_cast<uint8_t>(codes & 0xffu)}),
                    ToFloat(E4m3{static_cast<uint8_t>(codes >> 8 & 0xffu)}));
}

// sums += codes * x of four columns of each lane.
template <int kColumns>
WEFT_DEVICE void MultiplyFour(float (&dot)[kColumns][4], uint32_t low, uint32_t high,
                              const uint2 (&x)[kColumns]) {
  const uint32_t a[4] = {CodePair(low), CodePair(high), CodePair(low >> 16), CodePair(high >> 16)};
#pragma unroll
  for (int j = 0; j < kColumns; ++j) {
    const uint32_t b[2] = {x[j].x, x[j].y};
    MmaBf16(dot[j], a, b);
  }
}

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
  const GlobalPtr<const uint8_t> weights(p.weights);
  const GlobalPtr<const uint8_t> low = weights + output(g) * p.cols;
  const GlobalPtr<const uint8_t> high = weights + output(g + 8) * p.cols;
  const GlobalPtr<const uint16_t> x(p.x);
  const uint4 zero = make_uint4(0, 0, 0, 0);
  float sums[kColumns][4] = {};
#pragma unroll 1
  for (int slice = WarpId(); slice < slices; slice += kMatmulWarps) {
    uint4 c[2], d[2], v[kColumns][2][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int at = slice * kSlice + half * 4 * kLaneColumns + t * kLaneColumns;
      const bool there = at < cols;
      c[half] = there ? PtrCast<const uint4>(low + at)[0] : zero;
      d[half] = there ? PtrCast<const uint4>(high + at)[0] : zero;
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        const int row = (static_cast<int>(blockIdx.y) * kColumns + j) * kColumn + g;
        const GlobalPtr<const uint4> from =
            PtrCast<const uint4>(x + static_cast<int64_t>(row) * p.cols + at);
        const bool seen = there && row < p.rows;
        v[j][half][0] = seen ? from[0] : zero;
        v[j][half][1] = seen ? from[1] : zero;
      }
    }
    float dot[kColumns][4] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint2 first[kColumns], second[kColumns], third[kColumns], fourth[kColumns];
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        first[j] = make_uint2(v[j][half][0].x, v[j][half][0].y);
        second[j] = make_uint2(v[j][half][0].z, v[j][half][0].w);
        third[j] = make_uint2(v[j][half][1].x, v[j][half][1].y);
        fourth[j] = make_uint2(v[j][half][1].z, v[j][half][1].w);
      }
      MultiplyFour(dot, c[half].x, d[half].x, first);
      MultiplyFour(dot, c[half].y, d[half].y, second);
      MultiplyFour(dot, c[half].z, d[half].z, third);
      MultiplyFour(dot, c[half].w, d[half].w, fourth);
    }
    // All outputs of a tile are of one block of 128.
    const float scale =
        p.block == nullptr
            ? 1.0f
            : GlobalPtr<const float>(p.block)[first_output / kSlice * slices + slice];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
#pragma unroll
      for (int r = 0; r < 4; ++r) sums[j][r] = __fmaf_rn(scale, dot[j][r], sums[j][r]);
    }
  }
  if (p.channel != nullptr) {
    const GlobalPtr<const float> channel(p.channel);
    const float of_low = channel[output(g)];
    const float of_high = channel[output(g + 8)];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
#pragma unroll
      for (int r = 0; r < 4; ++r) sums[j][r] *= r < 2 ? of_low : of_high;
    }
  }
  StoreTile<kColumns>(p, sums, PtrCast<float>(shared));
}

LaunchResult SkinnyFp8(const SkinnyFp8Params& p, void* stream) {
  if (p.rows == 0 || p.outputs == 0) return {};
  if (p.cols % kLaneColumns != 0) return {.error = "cols", .kernel = "skinny_fp8"};
  if (p.rows <= kColumn) {
    return Run(SkinnyFp8Kernel<1>, Shape<1>(p, PartsBytes<1>(), "skinny_fp8"), stream, p);
  }
  return Run(SkinnyFp8Kernel<2>, Shape<2>(p, PartsBytes<2>(), "skinny_fp8"), stream, p);
}

}  // namespace weft::gpu
