// Matrix products with repacked weights. Included only by kernels_*.cc.
//
// One pass takes R rows of x over one group of 16 outputs: R x 16 sums stay in registers while the
// weights of the group stream through once (from L1 after the first pass).
#pragma once

#include <algorithm>
#include <cstdint>

#include "libs/ops/kernels.h"
#include "libs/ops/quant_tiles.h"

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

// Few rows wait for memory, and the processor prefetches too little by itself:
// bench/compare/cpu.md.
inline constexpr int kPrefetchRows = 2;
inline constexpr int64_t kPrefetchBytes = 2048;

// Weights that are unpacked next, fetched into the second-level cache while others are used, in at
// most kTurns turns: of every block each turn its share of the lines.
template <typename S>
class FetchAhead {
 public:
  static constexpr int64_t kTurns = 4;

  FetchAhead(const uint8_t* weights, int64_t block_bytes, int64_t turns, int64_t turn = 0)
      : weights_(weights),
        block_bytes_(block_bytes),
        first_(kLine * turn),
        step_(kLine * std::clamp<int64_t>(turns, 1, kTurns)) {}

  void Fetch(int64_t block) const {
    const uint8_t* p = weights_ + block * block_bytes_;
    for (int64_t at = first_; at < block_bytes_; at += step_) __builtin_prefetch(p + at, 0, 2);
  }
  void EndTurn() { first_ += kLine; }
  bool Done() const { return first_ >= step_; }

 private:
  static constexpr int64_t kLine = 64;
  const uint8_t* weights_;
  int64_t block_bytes_;
  int64_t first_;
  int64_t step_;
};

struct FetchNothing {
  void Fetch(int64_t /*block*/) const {}
};

// R rows of x against one group of a quantised layout. Few rows prefetch `kAhead` bytes ahead;
// `ahead` is told each block.
template <typename S, int R, typename Tile, int64_t kAhead = kPrefetchBytes>
struct QuantPass {
  template <typename Ahead = FetchNothing>
  static void Run(const MatmulArgs& args, int64_t group, int64_t row, const Ahead& ahead = {}) {
    using F = typename S::F;
    constexpr Sum kSum = Tile::kSum;
    const int64_t blocks = args.cols / kQBlock;
    const int64_t stride = args.x.stride;
    const uint8_t* weights = args.weights + group * GroupBytes(args.layout, args.cols);
    const int64_t block_bytes = GroupBytes(args.layout, kSuper * kQBlock) / kSuper;
    const int8_t* q = args.x.q + row * kQBlock;
    const float* scale = args.x.scale + row;
    const float* scaled_sum = args.x.scaled_sum + row;
    const int32_t* minus = args.x.minus128sum + 2 * row;
    F sums[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r] = S::Set1(0.0f);
    for (int64_t b = 0; b < blocks;
         ++b, q += stride * kQBlock, scale += stride, scaled_sum += stride, minus += 2 * stride) {
      const Tile tile(weights, b);
      ahead.Fetch(b);
      if constexpr (R <= kPrefetchRows && kAhead > 0) {
        for (int64_t at = 0; at < block_bytes; at += 64) {
          __builtin_prefetch(weights + b * block_bytes + at + kAhead);
        }
      }
      typename S::template Acc<kSum, R> acc[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) S::Start(acc[r], minus + 2 * r);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const typename S::Pair w = tile.Load(j);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) S::Dot(acc[r], w, q + r * kQBlock + 4 * j, j);
      }
#pragma GCC unroll 2
      for (int half = 0; half < (HasHalves(kSum) ? 2 : 1); ++half) {
        const F d = tile.Scale(half);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          const F dot = S::ToFloat(S::Finish(acc[r], half));
          sums[r] = S::Fma(dot, S::Mul(d, S::Set1(scale[r])), sums[r]);
        }
      }
      if constexpr (Tile::kOffsets == Offsets::kBlock) {
        const F m = tile.Offset(0);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sums[r] = S::Fma(m, S::Set1(scaled_sum[r]), sums[r]);
      }
      if constexpr (Tile::kOffsets == Offsets::kHalves) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const F m = tile.Offset(half);
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
using Q4Pass = QuantPass<S, R, Q4Tile<S>>;
template <typename S, int R>
using Q8Pass = QuantPass<S, R, Q8Tile<S>>;
template <typename S, int R>
using CodesPass = QuantPass<S, R, CodesTile<S, false>>;
template <typename S, int R>
using CodesOffsetPass = QuantPass<S, R, CodesTile<S, true>>;
template <typename S, int R>
using Q4KPass = QuantPass<S, R, Q4KTile<S>>;
template <typename S, int R>
using Q5KPass = QuantPass<S, R, Q5KTile<S>>;
template <typename S, int R>
using Q6Pass = QuantPass<S, R, Q6Tile<S>>;

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

// Floats as they are; 32 inputs count as a block.
template <typename S, int R, typename From>
struct FloatPass {
  template <typename Ahead = FetchNothing>
  static void Run(const MatmulArgs& args, int64_t group, int64_t row, const Ahead& ahead = {}) {
    using F = typename S::F;
    const auto* w = reinterpret_cast<const typename From::Element*>(args.weights) +
                    group * args.cols * kGroupRows;
    const float* x = args.x_float + row * args.cols;
    F sums[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r] = S::Set1(0.0f);
    for (int64_t k = 0; k < args.cols; ++k) {
      if (R > kPrefetchRows && k % kQBlock == 0) ahead.Fetch(k / kQBlock);
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

// fn(args of some groups) for all groups, so few at a time that weights which are read several
// times come from a cache after the first.
template <typename S, typename Fn>
void InCachedGroups(const MatmulArgs& args, Fn&& fn) {
  constexpr int64_t kCached = 512 << 10;  // bytes of weights
  constexpr int64_t kLeastGroups = 4;
  const int64_t group_bytes = GroupBytes(args.layout, args.cols);
  const int64_t most = std::max(kLeastGroups, kCached / group_bytes);
  for (int64_t group = 0; group < args.groups; group += most) {
    MatmulArgs part = args;
    part.weights += group * group_bytes;
    part.groups = std::min(most, args.groups - group);
    part.outputs = std::min(part.groups * kGroupRows, args.outputs - group * kGroupRows);
    part.out += group * kGroupRows;
    fn(part);
  }
}

// fn.operator()<R>(first row): kRows rows at a time, the rest by halves. A row's bits do not depend
// on R.
template <int kRows, typename Fn>
void ByRows(int64_t rows, Fn&& fn) {
  int64_t row = 0;
  const auto take = [&]<int R>() {
    fn.template operator()<R>(row);
    row += R;
  };
  while (rows - row >= kRows) take.template operator()<kRows>();
  if constexpr (kRows > 4) {
    if (rows - row >= 4) take.template operator()<4>();
  }
  if (rows - row == 3) take.template operator()<3>();
  if (rows - row == 2) take.template operator()<2>();
  if (rows - row == 1) take.template operator()<1>();
}

// All rows of all groups.
template <typename S, template <typename, int> class Pass>
void MatmulRows(const MatmulArgs& args) {
  ByRows<S::kMatmulRows>(args.rows, [&]<int R>(int64_t row) {
    for (int64_t group = 0; group < args.groups; ++group) Pass<S, R>::Run(args, group, row);
  });
}

// The same, where memory is slower than the passes: the weights are taken so few at a time that all
// rows find them in the second-level cache, and the first passes over them fetch the next ones
// into it. kFewBytes, kManyBytes: weights taken at a time for up to kFewRows rows and for more,
// which would read their activations too often. A single pass fetches kFewBytes ahead.
template <typename S, template <typename, int> class Pass, int64_t kFewBytes = 64 << 10,
          int64_t kManyBytes = 512 << 10>
void MatmulFetching(const MatmulArgs& args) {
  constexpr int64_t kFewRows = 64;
  constexpr int kRows = S::kMatmulRows;
  const int64_t group_bytes = GroupBytes(args.layout, args.cols);
  const int64_t block_bytes = GroupBytes(args.layout, kSuper * kQBlock) / kSuper;
  const int64_t bytes = args.rows <= kFewRows ? kFewBytes : kManyBytes;
  const int64_t most = std::max<int64_t>(1, bytes / group_bytes);
  const int64_t turns = std::clamp<int64_t>(args.rows / kRows, 1, FetchAhead<S>::kTurns);
  const int64_t ahead = args.rows <= kRows ? kFewBytes : most * group_bytes;
  for (int64_t from = 0; from < args.groups; from += most) {
    const int64_t to = std::min(from + most, args.groups);
    ByRows<kRows>(args.rows, [&]<int R>(int64_t row) {
      const int64_t turn = row / kRows;
      for (int64_t group = from; group < to; ++group) {
        if (turn < turns) {
          const uint8_t* next = args.weights + group * group_bytes + ahead;
          Pass<S, R>::Run(args, group, row, FetchAhead<S>(next, block_bytes, turns, turn));
        } else {
          Pass<S, R>::Run(args, group, row);
        }
      }
    });
  }
}

template <typename S>
void Matmul(const MatmulArgs& args) {
  switch (args.layout) {
    case Layout::kQ4:
      return MatmulFetching<S, Q4Pass>(args);
    case Layout::kQ8:
      return MatmulFetching<S, Q8Pass>(args);
    case Layout::kQ4K:
      return MatmulFetching<S, Q4KPass>(args);
    case Layout::kQ5K:
      return MatmulFetching<S, Q5KPass>(args);
    case Layout::kQ6:
      return MatmulFetching<S, Q6Pass>(args);
    case Layout::kCodes:
      return MatmulFetching<S, CodesPass>(args);
    case Layout::kCodesOffset:
      return MatmulFetching<S, CodesOffsetPass>(args);
    case Layout::kF32:
      return MatmulFetching<S, F32Pass>(args);
    case Layout::kF16:
      return MatmulFetching<S, F16Pass>(args);
    case Layout::kBF16:
      return MatmulFetching<S, Bf16Pass>(args);
  }
}

}  // namespace weft::cpu
