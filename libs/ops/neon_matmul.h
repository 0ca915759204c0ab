// Products of quantised weights on NEON. Included only by kernels_neon*.cc.
//
// As QuantPass (matmul_kernels.h), operation for operation in floats, with what differs in
// integers: the four inputs of a row that meet a register of weights are one lane of a register
// that holds 16 of them, so nothing is broadcast; and where halves of a block have their own
// scales, one half is summed after the other, so that the sums of a pass stay in registers.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "libs/ops/kernels.h"
#include "libs/ops/matmul_kernels.h"
#include "libs/ops/quant_tiles.h"
#include "libs/ops/simd_neon.h"

namespace weft::cpu {

// ARMv8.0. Products are summed in 16 bits, as many as fit: of weights of 4 and 5 bits a whole block
// (8 * 31 * 127 = 31496), of 6 bits a half (4 * 63 * 127 = 32004), of signed bytes two
// (2 * 128 * 127 = 32512).
struct NeonPlain : SimdNeon<NeonPlain> {
  static constexpr int kMatmulRows = 2;  // eight registers of sums each

  template <Sum K>
  static constexpr bool kInWords = K == Sum::kBits4 || K == Sum::kBits5 || K == Sum::kBits6;
  // Two products are summed in 16 bits before they join the sum of 32: Pair instead of Step.
  template <Sum K>
  static constexpr bool kPairs = !kInWords<K>;

  template <Sum K>
  struct Acc {
    int16x8_t words[8];  // two outputs each: their sums over inputs 0, 1, 2, 3 modulo 4
    int32x4_t sums[8];   // two outputs each, two sums an output
  };
  template <Sum K>
  static void Start(Acc<K>& acc, int32_t) {
    if constexpr (!kInWords<K>) {
      for (int32x4_t& sum : acc.sums) sum = vdupq_n_s32(0);
    }
  }
  // Adds w * (lane A of x). kFirst: this begins the sum.
  template <Sum K, bool kFirst, int A>
  static void Step(Acc<K>& acc, const Vector& w, int8x16_t x) {
    static_assert(kInWords<K>);
    const int8x16_t xs = Lane<A>(x);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      int16x8_t& low = acc.words[2 * i];
      int16x8_t& high = acc.words[2 * i + 1];
      low = kFirst ? Low(w.v[i], xs) : vmlal_s8(low, vget_low_s8(w.v[i]), vget_low_s8(xs));
      high = kFirst ? vmull_high_s8(w.v[i], xs) : vmlal_high_s8(high, w.v[i], xs);
    }
  }
  // Adds w * (lane A of x) + v * (lane B of y).
  template <Sum K, int A, int B>
  static void StepPair(Acc<K>& acc, const Vector& w, int8x16_t x, const Vector& v, int8x16_t y) {
    const int8x16_t xs = Lane<A>(x);
    const int8x16_t ys = Lane<B>(y);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int16x8_t low = vmlal_s8(Low(w.v[i], xs), vget_low_s8(v.v[i]), vget_low_s8(ys));
      const int16x8_t high = vmlal_high_s8(vmull_high_s8(w.v[i], xs), v.v[i], ys);
      acc.sums[2 * i] = vpadalq_s16(acc.sums[2 * i], low);
      acc.sums[2 * i + 1] = vpadalq_s16(acc.sums[2 * i + 1], high);
    }
  }
  template <Sum K>
  static I Finish(const Acc<K>& acc, int32_t start) {
    const I sums = {FourOf(acc, 0), FourOf(acc, 2), FourOf(acc, 4), FourOf(acc, 6)};
    return K == Sum::kBits6 ? IntAdd(sums, IntSet1(start)) : sums;
  }

 private:
  template <int kLane>
  static int8x16_t Lane(int8x16_t x) {
    return vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(x), kLane));
  }
  static int16x8_t Low(int8x16_t w, int8x16_t x) {
    return vmull_s8(vget_low_s8(w), vget_low_s8(x));
  }
  // The outputs of two registers.
  template <Sum K>
  static int32x4_t FourOf(const Acc<K>& acc, int at) {
    if constexpr (K == Sum::kBits4) {  // two sums still fit
      return vpaddlq_s16(vpaddq_s16(acc.words[at], acc.words[at + 1]));
    } else if constexpr (kInWords<K>) {
      return vpaddq_s32(vpaddlq_s16(acc.words[at]), vpaddlq_s16(acc.words[at + 1]));
    } else {
      return vpaddq_s32(acc.sums[at], acc.sums[at + 1]);
    }
  }
};

#if defined(__ARM_FEATURE_DOTPROD)
// With the dot-product extension: four products and their sum at once in 32 bits.
struct NeonDot : SimdNeon<NeonDot> {
  static constexpr int kMatmulRows = 4;  // four registers of sums each
  template <Sum>
  static constexpr bool kPairs = false;

  template <Sum K>
  struct Acc {
    int32x4_t sums[4];
  };
  template <Sum K>
  static void Start(Acc<K>& acc, int32_t start) {
    for (int32x4_t& sum : acc.sums) sum = vdupq_n_s32(start);
  }
  template <Sum K, bool, int A>
  static void Step(Acc<K>& acc, const Vector& w, int8x16_t x) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) acc.sums[i] = vdotq_laneq_s32(acc.sums[i], w.v[i], x, A);
  }
  template <Sum K>
  static I Finish(const Acc<K>& acc, int32_t) {
    return {acc.sums[0], acc.sums[1], acc.sums[2], acc.sums[3]};
  }
};
#endif

// R rows of x against one group of a quantised layout.
template <typename S, int R, typename Tile>
struct NeonQuantPass {
  using F = typename S::F;
  static constexpr Sum kSum = Tile::kSum;

  static void Run(const MatmulArgs& args, int64_t group, int64_t row) {
    const int64_t blocks = args.cols / kQBlock;
    const int64_t stride = args.x.stride;
    const uint8_t* weights = args.weights + group * GroupBytes(args.layout, args.cols);
    const int8_t* q = args.x.q + row * kQBlock;
    const float* scale = args.x.scale + row;
    const float* scaled_sum = args.x.scaled_sum + row;
    const int32_t* minus = args.x.minus128sum + 2 * row;
    F sums[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sums[r] = S::Set1(0.0f);
    for (int64_t b = 0; b < blocks;
         ++b, q += stride * kQBlock, scale += stride, scaled_sum += stride, minus += 2 * stride) {
      const Tile tile(weights, b);
      if constexpr (HasHalves(kSum)) {
        AddHalf<0>(tile, q, scale, minus, sums);
        AddHalf<1>(tile, q, scale, minus, sums);
      } else {
        AddBlock(tile, q, scale, sums);
      }
      if constexpr (Tile::kOffsets == Offsets::kBlock) {
        const F m = tile.Offset(0);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) sums[r] = S::Fma(m, S::Set1(scaled_sum[r]), sums[r]);
      }
      if constexpr (Tile::kOffsets == Offsets::kHalves) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const F m = tile.Offset(half);
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) {
            const float sum = static_cast<float>(minus[2 * r + half]) * -0.0078125f;
            sums[r] = S::Fma(m, S::Set1(scale[r] * sum), sums[r]);
          }
        }
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) StoreOutputs<S>(args, group, row + r, sums[r]);
  }

 private:
  using Acc = typename S::template Acc<kSum>;

  static void AddBlock(const Tile& tile, const int8_t* q, const float* scale, F (&sums)[R]) {
    Acc acc[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) S::Start(acc[r], 0);
    const auto step = [&]<int J>() {
      const typename S::Pair w = tile.Load(J);
      if constexpr (S::template kPairs<kSum>) {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          S::template StepPair<kSum, J, J>(acc[r], w.low, Inputs<0>(q, r), w.high, Inputs<1>(q, r));
        }
      } else {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          S::template Step<kSum, J == 0, J>(acc[r], w.low, Inputs<0>(q, r));
        }
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          S::template Step<kSum, false, J>(acc[r], w.high, Inputs<1>(q, r));
        }
      }
    };
    step.template operator()<0>();
    step.template operator()<1>();
    step.template operator()<2>();
    step.template operator()<3>();
    const F d = tile.Scale(0);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) Scale(acc[r], 0, d, scale[r], sums[r]);
  }

  template <int kHalf>
  static void AddHalf(const Tile& tile, const int8_t* q, const float* scale, const int32_t* minus,
                      F (&sums)[R]) {
    Acc acc[R];
    // Weights of 6 bits stand for themselves less 32.
    const auto start = [&](int r) { return kSum == Sum::kBits6 ? minus[2 * r + kHalf] >> 2 : 0; };
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) S::Start(acc[r], start(r));
    const auto step = [&]<int J>() {
      if constexpr (S::template kPairs<kSum>) {
        if constexpr (J % 2 == 0) {
          const typename S::Vector w = Part<kHalf>(tile.Load(J));
          const typename S::Vector v = Part<kHalf>(tile.Load(J + 1));
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) {
            const int8x16_t x = Inputs<kHalf>(q, r);
            S::template StepPair<kSum, J, J + 1>(acc[r], w, x, v, x);
          }
        }
      } else {
        const typename S::Vector w = Part<kHalf>(tile.Load(J));
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          S::template Step<kSum, J == 0, J>(acc[r], w, Inputs<kHalf>(q, r));
        }
      }
    };
    step.template operator()<0>();
    step.template operator()<1>();
    step.template operator()<2>();
    step.template operator()<3>();
    const F d = tile.Scale(kHalf);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) Scale(acc[r], start(r), d, scale[r], sums[r]);
  }

  static void Scale(const Acc& acc, int32_t start, F d, float scale, F& sum) {
    const F dot = S::ToFloat(S::Finish(acc, start));
    sum = S::Fma(dot, S::Mul(d, S::Set1(scale)), sum);
  }
  // Sixteen inputs of row r.
  template <int kHalf>
  static int8x16_t Inputs(const int8_t* q, int r) {
    return vld1q_s8(q + r * kQBlock + 16 * kHalf);
  }
  template <int kHalf>
  static typename S::Vector Part(const typename S::Pair& w) {
    return kHalf == 0 ? w.low : w.high;
  }
};

template <typename S>
struct NeonMatmul {
  template <template <typename> class Tile>
  struct With {
    template <typename, int R>
    using Pass = NeonQuantPass<S, R, Tile<S>>;
  };
  template <typename T>
  using Codes = CodesTile<T, false>;
  template <typename T>
  using CodesOffset = CodesTile<T, true>;

  static void Run(const MatmulArgs& args) {
    switch (args.layout) {
      case Layout::kQ4:
        return MatmulRows<S, With<Q4Tile>::template Pass>(args);
      case Layout::kQ8:
        return MatmulRows<S, With<Q8Tile>::template Pass>(args);
      case Layout::kQ4K:
        return MatmulRows<S, With<Q4KTile>::template Pass>(args);
      case Layout::kQ5K:
        return MatmulRows<S, With<Q5KTile>::template Pass>(args);
      case Layout::kQ6:
        return MatmulRows<S, With<Q6Tile>::template Pass>(args);
      case Layout::kCodes:
        return MatmulRows<S, With<Codes>::template Pass>(args);
      case Layout::kCodesOffset:
        return MatmulRows<S, With<CodesOffset>::template Pass>(args);
      case Layout::kF32:
        return MatmulRows<SimdNeon<S>, F32Pass>(args);
      case Layout::kF16:
        return MatmulRows<SimdNeon<S>, F16Pass>(args);
      case Layout::kBF16:
        return MatmulRows<SimdNeon<S>, Bf16Pass>(args);
    }
  }
};

}  // namespace weft::cpu
