// Matrix products with repacked weights. Included only by kernels_*.cc.
//
// One pass takes R rows of x over one group of 16 outputs: R x 16 sums stay in registers while the
// weights of the group stream through once (from L1 after the first pass).
#pragma once

#include <cstdint>

#include "libs/ops/kernels.h"

namespace weft::cpu {

template <typename S>
inline void StoreOutputs(const MatmulArgs& args, int64_t group, int64_t row, typename S::F value) {
  float* out = args.out + row * args.out_stride + group * kGroupRows;
  const int64_t left = args.outputs - group * kGroupRows;
  if (left >= kGroupRows) {
    S::Store(out, value);
  } else {
    S::StoreFirst(out, value, static_cast<int>(left));
  }
}

template <typename S, int R>
struct Q4Pass {
  static void Run(const MatmulArgs& args, int64_t group, int64_t row) {
    using F = typename S::F;
    const int64_t blocks = args.cols / kQBlock;
    const int64_t stride = args.x.stride;
    const uint8_t* tile = args.weights + group * blocks * kQ4TileBytes;
    const int8_t* q = args.x.q + row * kQBlock;
    const float* scale = args.x.scale + row;
    const float* scaled_sum = args.x.scaled_sum + row;
    F sums[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r] = S::Set1(0.0f);
    for (int64_t b = 0; b < blocks;
         ++b, tile += kQ4TileBytes, q += stride * kQBlock, scale += stride, scaled_sum += stride) {
      typename S::template Acc4<R> acc[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) acc[r] = S::template ZeroAcc4<R>();
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const typename S::Q4 w = S::LoadQ4(tile + 64 * j);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) S::Dot4(acc[r], w, q + r * kQBlock + 4 * j);
      }
      const F d = S::LoadHalf(reinterpret_cast<const uint16_t*>(tile + 256));
      const F m = S::LoadHalf(reinterpret_cast<const uint16_t*>(tile + 288));
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const F dot = S::ToFloat(S::Finish4(acc[r]));
        sums[r] = S::Fma(dot, S::Mul(d, S::Set1(scale[r])), sums[r]);
        sums[r] = S::Fma(m, S::Set1(scaled_sum[r]), sums[r]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) StoreOutputs<S>(args, group, row + r, sums[r]);
  }
};

template <typename S, int R>
struct Q8Pass {
  static void Run(const MatmulArgs& args, int64_t group, int64_t row) {
    using F = typename S::F;
    const int64_t blocks = args.cols / kQBlock;
    const int64_t stride = args.x.stride;
    const uint8_t* tile = args.weights + group * blocks * kQ8TileBytes;
    const int8_t* q = args.x.q + row * kQBlock;
    const float* scale = args.x.scale + row;
    const int32_t* minus = args.x.minus128sum + 2 * row;
    F sums[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r] = S::Set1(0.0f);
    for (int64_t b = 0; b < blocks;
         ++b, tile += kQ8TileBytes, q += stride * kQBlock, scale += stride, minus += 2 * stride) {
      typename S::Acc8 acc[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        acc[r] = S::StartAcc8(minus[2 * r] + minus[2 * r + 1]);
      }
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        const typename S::Q8 w = S::LoadQ8(tile + 64 * j);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) S::Dot8(acc[r], w, q + r * kQBlock + 4 * j);
      }
      const F d = S::LoadHalf(reinterpret_cast<const uint16_t*>(tile + 512));
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const F dot = S::ToFloat(S::Finish8(acc[r]));
        sums[r] = S::Fma(dot, S::Mul(d, S::Set1(scale[r])), sums[r]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) StoreOutputs<S>(args, group, row + r, sums[r]);
  }
};

template <typename S, int R>
struct Q6Pass {
  static void Run(const MatmulArgs& args, int64_t group, int64_t row) {
    using F = typename S::F;
    const int64_t blocks = args.cols / kQBlock;
    const int64_t stride = args.x.stride;
    const uint8_t* tile = args.weights + group * blocks * kQ6TileBytes;
    const int8_t* q = args.x.q + row * kQBlock;
    const float* scale = args.x.scale + row;
    const int32_t* minus = args.x.minus128sum + 2 * row;
    F sums[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r] = S::Set1(0.0f);
    for (int64_t b = 0; b < blocks;
         ++b, tile += kQ6TileBytes, q += stride * kQBlock, scale += stride, minus += 2 * stride) {
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
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) StoreOutputs<S>(args, group, row + r, sums[r]);
  }
};

template <typename S>
struct FromF32 {
  using Element = float;
  static typename S::F Load(const float* p) { return S::Load(p); }
};
template <typename S>
struct FromF16 {
  using Element = uint16_t;
  static typename S::F Load(const uint16_t* p) { return S::LoadHalf(p); }
};
template <typename S>
struct FromBf16 {
  using Element = uint16_t;
  static typename S::F Load(const uint16_t* p) { return S::LoadBf16(p); }
};

template <typename S, int R, typename From>
struct FloatPass {
  static void Run(const MatmulArgs& args, int64_t group, int64_t row) {
    using F = typename S::F;
    const auto* w = reinterpret_cast<const typename From::Element*>(args.weights) +
                    group * args.cols * kGroupRows;
    const float* x = args.x_float + row * args.cols;
    F sums[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r] = S::Set1(0.0f);
    for (int64_t k = 0; k < args.cols; ++k) {
      const F weight = From::Load(w + k * kGroupRows);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        sums[r] = S::Fma(weight, S::Set1(x[r * args.cols + k]), sums[r]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) StoreOutputs<S>(args, group, row + r, sums[r]);
  }
};
template <typename S, int R>
using F32Pass = FloatPass<S, R, FromF32<S>>;
template <typename S, int R>
using F16Pass = FloatPass<S, R, FromF16<S>>;
template <typename S, int R>
using Bf16Pass = FloatPass<S, R, FromBf16<S>>;

// All rows of all groups: R rows at a time, the rest by halves. A row's bits do not depend on R.
template <typename S, template <typename, int> class Pass>
void MatmulRows(const MatmulArgs& args) {
  constexpr int kRows = S::kMatmulRows;
  int64_t row = 0;
  const auto take = [&]<int R>() {
    for (int64_t group = 0; group < args.groups; ++group) Pass<S, R>::Run(args, group, row);
    row += R;
  };
  while (args.rows - row >= kRows) take.template operator()<kRows>();
  if constexpr (kRows > 4) {
    if (args.rows - row >= 4) take.template operator()<4>();
  }
  if (args.rows - row == 3) take.template operator()<3>();
  if (args.rows - row == 2) take.template operator()<2>();
  if (args.rows - row == 1) take.template operator()<1>();
}

// Of any block format, expanded: codes_kernels.h.
template <typename S, int R>
struct CodesPass;
template <typename S, int R>
struct CodesOffsetPass;

template <typename S>
void Matmul(const MatmulArgs& args) {
  switch (args.layout) {
    case Layout::kQ4:
      return MatmulRows<S, Q4Pass>(args);
    case Layout::kQ8:
      return MatmulRows<S, Q8Pass>(args);
    case Layout::kQ6:
      return MatmulRows<S, Q6Pass>(args);
    case Layout::kCodes:
      return MatmulRows<S, CodesPass>(args);
    case Layout::kCodesOffset:
      return MatmulRows<S, CodesOffsetPass>(args);
    case Layout::kF32:
      return MatmulRows<S, F32Pass>(args);
    case Layout::kF16:
      return MatmulRows<S, F16Pass>(args);
    case Layout::kBF16:
      return MatmulRows<S, Bf16Pass>(args);
  }
}

}  // namespace weft::cpu
