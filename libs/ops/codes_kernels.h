// Matrix products with weights of any block format, expanded to int8 codes with fp32 scales (and
// offsets) per 16 inputs: see pack_codes.h. Included only by kernels_*.cc.
#pragma once

#include <cstdint>

#include "libs/ops/kernels.h"
#include "libs/ops/matmul_kernels.h"

namespace weft::cpu {

template <typename S, int R, bool kOffsets>
struct ExpandedPass {
  static void Run(const MatmulArgs& args, int64_t group, int64_t row) {
    using F = typename S::F;
    constexpr int64_t kTileBytes = kOffsets ? kCodesOffsetTileBytes : kCodesTileBytes;
    const int64_t blocks = args.cols / kQBlock;
    const int64_t stride = args.x.stride;
    const uint8_t* tile = args.weights + group * blocks * kTileBytes;
    const int8_t* q = args.x.q + row * kQBlock;
    const float* scale = args.x.scale + row;
    const int32_t* minus = args.x.minus128sum + 2 * row;
    F sums[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r] = S::Set1(0.0f);
    for (int64_t b = 0; b < blocks;
         ++b, tile += kTileBytes, q += stride * kQBlock, scale += stride, minus += 2 * stride) {
      for (int half = 0; half < 2; ++half) {
        typename S::Acc8 acc[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) acc[r] = S::StartAcc8(minus[2 * r + half]);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          const typename S::Q8 w = S::LoadQ8(tile + 256 * half + 64 * j);
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) S::Dot8(acc[r], w, q + r * kQBlock + 16 * half + 4 * j);
        }
        const F d = S::Load(reinterpret_cast<const float*>(tile + 512 + 64 * half));
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          const F dot = S::ToFloat(S::Finish8(acc[r]));
          sums[r] = S::Fma(dot, S::Mul(d, S::Set1(scale[r])), sums[r]);
        }
        if constexpr (kOffsets) {
          const F m = S::Load(reinterpret_cast<const float*>(tile + 640 + 64 * half));
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) {
            // The sum of 16 bytes, exactly; its product with the scale is rounded once.
            const float sum = static_cast<float>(minus[2 * r + half]) * -0.0078125f;
            sums[r] = S::Fma(m, S::Set1(scale[r] * sum), sums[r]);
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) StoreOutputs<S>(args, group, row + r, sums[r]);
  }
};
template <typename S, int R>
struct CodesPass : ExpandedPass<S, R, false> {};
template <typename S, int R>
struct CodesOffsetPass : ExpandedPass<S, R, true> {};

}  // namespace weft::cpu
