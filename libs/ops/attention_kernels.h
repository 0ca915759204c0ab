// Flash-style attention over pages. Included only by kernels_*.cc.
//
// Tokens are taken in tiles of 64, anchored to absolute positions: a query meets the same tiles in
// the same order whatever chunk or batch it is computed in. Inside a tile the softmax is exact;
// tiles merge by the running maximum (Milakov and Gimelshein 2018; FlashAttention-2). A tile is
// read as strips of 16 tokens, so the size of a page leaves no trace.
#pragma once

#include <cstdint>

#include "libs/ops/kernels.h"
#include "libs/ops/kv_kernels.h"
#include "libs/ops/vector_math.h"

namespace weft::cpu {

inline constexpr int kTileTokens = 64;
inline constexpr int kStrip = 16;

// Kv: what the cache holds (kv_kernels.h).
template <typename S, typename Kv>
class AttentionOver {
 public:
  using F = typename S::F;
  using Element = typename Kv::Element;

  static void Run(const AttentionArgs& args) {
    const int queries = args.rows * args.group;
    float* sums = args.scratch;  // [queries, v_dim]: unnormalised outputs
    float* largest = sums + static_cast<int64_t>(queries) * args.v_dim;  // [queries]
    float* total = largest + queries;  // [queries]: sums of the exponentials
    for (int64_t i = 0; i < static_cast<int64_t>(queries) * args.v_dim; ++i) sums[i] = 0.0f;
    for (int i = 0; i < queries; ++i) {
      largest[i] = -__builtin_inff();
      total[i] = 0.0f;
    }
    const int last = args.first_position + args.rows - 1;
    const int first = FirstToken(args, args.first_position) / kTileTokens * kTileTokens;
    for (int tile = first; tile <= last; tile += kTileTokens) {
      Tile view(args, tile);
      // Rows that see the whole tile share its loads; the others mask it, each for itself, so that
      // no token outside a row's own is ever touched on its behalf.
      int row = tile > args.first_position ? tile - args.first_position : 0;
      while (row < args.rows) {
        const Seen seen(args, tile, row);
        if (seen.begin >= kTileTokens) break;  // of later rows even more so
        int end = row + 1;
        while (seen.whole() && end < args.rows && Seen(args, tile, end).whole()) ++end;
        Queries(view, row * args.group, end * args.group, seen, sums, largest, total);
        row = end;
      }
    }
    for (int i = 0; i < queries; ++i) {
      const F inverse = S::Set1(1.0f / total[i]);
      float* out = args.out + (i / args.group) * args.out_stride + (i % args.group) * args.v_dim;
      const float* sum = sums + static_cast<int64_t>(i) * args.v_dim;
      for (int d = 0; d < args.v_dim; d += kStrip) {
        S::Store(out + d, S::Mul(S::Load(sum + d), inverse));
      }
    }
  }

 private:
  static int FirstToken(const AttentionArgs& args, int position) {
    return args.window > 0 && position >= args.window ? position - args.window + 1 : 0;
  }

  // The tokens of a tile that a row sees: [begin, end).
  struct Seen {
    Seen(const AttentionArgs& args, int tile, int row) {
      const int position = args.first_position + row;
      const int first = FirstToken(args, position) - tile;
      begin = first > 0 ? first : 0;
      end = position - tile + 1 < kTileTokens ? position - tile + 1 : kTileTokens;
    }
    bool whole() const { return begin == 0 && end == kTileTokens; }
    int begin;
    int end;
  };

  // The strips of one tile. Strips that begin after the last row's token are never read.
  struct Tile {
    Tile(const AttentionArgs& a, int begin) : args(a) {
      const int last = a.first_position + a.rows - 1;
      for (int s = 0; s < kTileTokens / kStrip; ++s) {
        const int token = begin + s * kStrip;
        if (token > last) {
          k[s] = v[s] = nullptr;
          k_scales[s] = v_scales[s] = nullptr;
          continue;
        }
        const int64_t page = a.block_table[token / a.block_tokens];
        const int64_t offset = token % a.block_tokens;
        k[s] = At<Element>(a.k_cache, page * a.k_page_stride) + offset;
        v[s] = At<Element>(a.v_cache, page * a.v_page_stride) + offset * a.v_dim;
        if constexpr (Kv::kScaled) {
          k_scales[s] = At<uint16_t>(a.k_scales, page * a.k_page_stride) + offset;
          v_scales[s] = At<uint16_t>(a.v_scales, page * a.v_page_stride) + offset;
        }
      }
    }
    template <typename T>
    static const T* At(const uint8_t* base, int64_t bytes) {
      return reinterpret_cast<const T*>(base + bytes);
    }
    const AttentionArgs& args;
    const Element* k[kTileTokens / kStrip];          // [head_dim, block_tokens]
    const Element* v[kTileTokens / kStrip];          // [16 tokens, v_dim]
    const uint16_t* k_scales[kTileTokens / kStrip];  // [groups, block_tokens]
    const uint16_t* v_scales[kTileTokens / kStrip];
  };

  static void Queries(const Tile& tile, int first, int end, Seen seen, float* sums, float* largest,
                      float* total) {
    constexpr int kMost = S::kQueries;
    int query = first;
    const auto take = [&]<int Q>() {
      Pass<Q>(tile, query, seen, sums, largest, total);
      query += Q;
    };
    // NOLINTNEXTLINE(bugprone-infinite-loop): `take` moves `query`.
    while (end - query >= kMost) take.template operator()<kMost>();
    if constexpr (kMost > 4) {
      if (end - query >= 4) take.template operator()<4>();
    }
    if (end - query == 3) take.template operator()<3>();
    if (end - query == 2) take.template operator()<2>();
    if (end - query == 1) take.template operator()<1>();
  }

  template <int Q>
  static void Pass(const Tile& tile, int first, Seen seen, float* sums, float* largest,
                   float* total) {
    const AttentionArgs& args = tile.args;
    const int dim = args.head_dim;
    const int first_strip = seen.begin / kStrip;
    const int strips = (seen.end + kStrip - 1) / kStrip;
    const float* q[Q];
    for (int i = 0; i < Q; ++i) {
      const int query = first + i;
      q[i] = args.q + (query / args.group) * args.q_stride + (query % args.group) * dim;
    }

    // Scores: lanes are tokens, each the sum over ascending d.
    float scores[Q][kTileTokens];
    const F scale = S::Set1(args.scale);
    int strip = first_strip;
    for (; strip + S::kScoreStrips <= strips; strip += S::kScoreStrips) {
      Scores<Q, S::kScoreStrips>(tile, q, strip, seen, scale, scores);
    }
    for (; strip < strips; ++strip) Scores<Q, 1>(tile, q, strip, seen, scale, scores);

    // Softmax of the tile against the running maximum.
    float rescale[Q];
    for (int i = 0; i < Q; ++i) {
      const int query = first + i;
      F strip_max = S::Load(&scores[i][first_strip * kStrip]);
      for (int s = first_strip + 1; s < strips; ++s)
        strip_max = S::Max(strip_max, S::Load(&scores[i][s * kStrip]));
      const float before = largest[query];
      const float tile_max = S::ReduceMax(strip_max);
      const float now = tile_max > before ? tile_max : before;
      largest[query] = now;
      const F shift = S::Set1(now);
      float first_lane[16];
      S::Store(first_lane, Exp<S>(S::Sub(S::Set1(before), shift)));
      rescale[i] = first_lane[0];
      F sum = S::Set1(0.0f);
      for (int s = first_strip; s < strips; ++s) {
        F p = Exp<S>(S::Sub(S::Load(&scores[i][s * kStrip]), shift));
        p = Masked(p, seen, s, 0.0f);
        S::Store(&scores[i][s * kStrip], p);
        sum = S::Add(sum, p);
      }
      total[query] = S::ReduceAdd(
          S::Fma(S::FirstLanes(1, S::Set1(total[query]), S::Set1(0.0f)), S::Set1(rescale[i]), sum));
    }

    const int v_dim = args.v_dim;
    float* out = sums + static_cast<int64_t>(first) * v_dim;
    int d = 0;
    for (; d + S::kScoreStrips * kStrip <= v_dim; d += S::kScoreStrips * kStrip) {
      Outputs<Q, S::kScoreStrips>(tile, d, seen, scores, rescale, out + d);
    }
    for (; d < v_dim; d += kStrip) Outputs<Q, 1>(tile, d, seen, scores, rescale, out + d);
  }

  // The lanes of a strip that are seen; `otherwise` in the rest.
  static F Masked(F a, Seen seen, int strip, float otherwise) {
    const int begin = seen.begin - strip * kStrip;
    const int end = seen.end - strip * kStrip;
    if (end < kStrip) a = S::FirstLanes(end, a, S::Set1(otherwise));
    if (begin > 0) a = S::FirstLanes(begin, S::Set1(otherwise), a);
    return a;
  }

  // N strips of 16 tokens against Q queries. Lanes are tokens, each the sum over ascending d.
  // Not inlined: the constants of exp, alive all through Pass, would push the sums out of
  // registers.
  template <int Q, int N>
  __attribute__((noinline)) static void Scores(const Tile& tile, const float* const (&q)[Q],
                                               int strip, Seen seen, F scale,
                                               float (&scores)[Q][kTileTokens]) {
    F acc[Q][N];
#pragma GCC unroll 8
    for (int i = 0; i < Q; ++i) {
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) acc[i][n] = S::Set1(0.0f);
    }
    const int64_t step = tile.args.block_tokens;
    const Element* k[N];
    for (int n = 0; n < N; ++n) k[n] = tile.k[strip + n];
    const int dim = tile.args.head_dim;
    // One group where there are no scales.
    const int group = Kv::kScaled ? kScaleGroup : dim;
    for (int begin = 0; begin < dim; begin += group) {
      [[maybe_unused]] F scales[N];
      if constexpr (Kv::kScaled) {
        for (int n = 0; n < N; ++n) {
          scales[n] = S::LoadHalf(tile.k_scales[strip + n] + begin / kScaleGroup * step);
        }
      }
      const int end = begin + group < dim ? begin + group : dim;
      for (int d = begin; d < end; ++d) {
        F keys[N];
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) {
          keys[n] = Kv::Load(k[n] + d * step);
          // 7 bits times 11: exact.
          if constexpr (Kv::kScaled) keys[n] = S::Mul(keys[n], scales[n]);
        }
#pragma GCC unroll 8
        for (int i = 0; i < Q; ++i) {
          const F query = S::Set1(q[i][d]);
#pragma GCC unroll 2
          for (int n = 0; n < N; ++n) acc[i][n] = S::Fma(keys[n], query, acc[i][n]);
        }
      }
    }
    for (int n = 0; n < N; ++n) {
      for (int i = 0; i < Q; ++i) {
        F score = S::Mul(acc[i][n], scale);
        if (tile.args.softcap > 0) score = SoftCap<S>(score, tile.args.softcap);
        score = Masked(score, seen, strip + n, -__builtin_inff());
        S::Store(&scores[i][(strip + n) * kStrip], score);
      }
    }
  }

  // N strips of 16 elements of the head, at `d`. Each is the sum over ascending tokens.
  template <int Q, int N>
  __attribute__((noinline)) static void Outputs(const Tile& tile, int d, Seen seen,
                                                const float (&scores)[Q][kTileTokens],
                                                const float (&rescale)[Q], float* sums) {
    if constexpr (Kv::kScaled) {
      // A token's scale goes into its probability: once for all elements of the group.
      float scaled[Q][kTileTokens];
      const int64_t at = static_cast<int64_t>(d / kScaleGroup) * tile.args.block_tokens;
      for (int s = seen.begin / kStrip; s * kStrip < seen.end; ++s) {
        const F scale = S::LoadHalf(tile.v_scales[s] + at);
        for (int i = 0; i < Q; ++i) {
          S::Store(&scaled[i][s * kStrip], S::Mul(S::Load(&scores[i][s * kStrip]), scale));
        }
      }
      WeightedSums<Q, N>(tile, d, seen, scaled, rescale, sums);
    } else {
      WeightedSums<Q, N>(tile, d, seen, scores, rescale, sums);
    }
  }

  template <int Q, int N>
  __attribute__((always_inline)) static void WeightedSums(const Tile& tile, int d, Seen seen,
                                                          const float (&scores)[Q][kTileTokens],
                                                          const float (&rescale)[Q], float* sums) {
    const int64_t dim = tile.args.v_dim;
    F acc[Q][N];
#pragma GCC unroll 8
    for (int i = 0; i < Q; ++i) {
      const F factor = S::Set1(rescale[i]);
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) acc[i][n] = S::Mul(S::Load(sums + i * dim + n * kStrip), factor);
    }
    for (int begin = seen.begin; begin < seen.end;) {
      const int strip = begin / kStrip;
      const int end = seen.end < (strip + 1) * kStrip ? seen.end : (strip + 1) * kStrip;
      const Element* v = tile.v[strip] + (begin - strip * kStrip) * dim + d;
      for (int t = begin; t < end; ++t, v += dim) {
        // Named, not an array: GCC 12 keeps an array of two in memory here.
        static_assert(N <= 2);
        const F low = Kv::Load(v);
        const F high = N == 2 ? Kv::Load(v + kStrip) : low;
#pragma GCC unroll 8
        for (int i = 0; i < Q; ++i) {
          const F p = S::Set1(scores[i][t]);
          acc[i][0] = S::Fma(low, p, acc[i][0]);
          if constexpr (N == 2) acc[i][1] = S::Fma(high, p, acc[i][1]);
        }
      }
      begin = end;
    }
#pragma GCC unroll 8
    for (int i = 0; i < Q; ++i) {
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) S::Store(sums + i * dim + n * kStrip, acc[i][n]);
    }
  }
};

template <typename S>
class Attention {
 public:
  static void Run(const AttentionArgs& args) {
    switch (args.kv) {
      case KvElement::kHalf:
        return AttentionOver<S, HalfKv<S>>::Run(args);
      case KvElement::kBfloat:
        return AttentionOver<S, BfloatKv<S>>::Run(args);
      case KvElement::kScaledByte:
        return AttentionOver<S, ScaledByteKv<S>>::Run(args);
    }
  }
};

}  // namespace weft::cpu
