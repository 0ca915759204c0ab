// Matrix products of many rows on AMX tiles. Included only by kernels_amx.cc.
//
// A tile product sums 16 rows of x times 16 outputs over one block of 32 inputs (a half, where
// halves have their own scales) exactly in int32; then the block is scaled and added in vector
// registers, operation for operation as QuantPass does it, so the bits are the same. A group's
// weights are unpacked to bytes once per 1,024 inputs, small enough for L1, and used for all rows;
// meanwhile the next ones are fetched.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "libs/ops/kernels.h"
#include "libs/ops/matmul_kernels.h"
#include "libs/ops/quant_tiles.h"
#include "libs/ops/simd_avx512.h"

namespace weft::cpu {

// Tiles know signed bytes: nothing is added to those.
struct SimdAmx : SimdAvx512 {
  static Pair LoadSigned(const uint8_t* low, const uint8_t* high) {
    return {_mm512_loadu_si512(low), _mm512_loadu_si512(high)};
  }
};

// kAhead: blocks whose products run before those of the blocks before them are scaled. kFetch: the
// weights of the next panel are fetched while this one is used.
template <typename Tile, int kAhead = 1, bool kFetch = true>
class AmxMatmul {
 public:
  using S = SimdAmx;
  using F = S::F;
  static constexpr int kRows = 16;      // of x, in one tile
  static constexpr int kLeastRows = 8;  // fewer are left to the vector kernels

  // All groups of the first args.rows / 8 * 8 rows.
  static void Run(const MatmulArgs& args) {
    const int64_t blocks = args.cols / kQBlock;
    const int64_t block_bytes = GroupBytes(args.layout, args.cols) / blocks;
    const int64_t whole = args.rows / kRows * kRows;
    Panel panel;
    int configured = 0;
    for (int64_t group = 0; group < args.groups; ++group) {
      const uint8_t* weights = args.weights + group * GroupBytes(args.layout, args.cols);
      for (int64_t first = 0; first < blocks; first += kPanelBlocks) {
        const int64_t count = std::min(kPanelBlocks, blocks - first);
        panel.Unpack(weights, first, count);
        if (whole > 0) Configure<kRows>(configured);
        // What follows this panel in memory is unpacked next.
        FetchAhead<S> ahead(weights + (first + count) * block_bytes, block_bytes, whole / kRows);
        for (int64_t row = 0; row < whole; row += kRows, ahead.EndTurn()) {
          if (kFetch && !ahead.Done()) {
            Rows<kRows, true>(args, panel, ahead, group, row, first, count);
          } else {
            Rows<kRows, false>(args, panel, ahead, group, row, first, count);
          }
        }
        if (args.rows - whole >= kLeastRows) {
          Configure<kLeastRows>(configured);
          Rows<kLeastRows, false>(args, panel, ahead, group, whole, first, count);
        }
      }
    }
    _tile_release();
  }

 private:
  static constexpr int64_t kPanelBlocks = 32;
  static constexpr int kParts = HasHalves(Tile::kSum) ? 2 : 1;
  static constexpr int kPartBytes = kQBlock / kParts;
  static constexpr int kOffsetParts = Tile::kOffsets == Offsets::kNone    ? 0
                                      : Tile::kOffsets == Offsets::kBlock ? 1
                                                                          : 2;

  struct alignas(64) Panel {
    uint8_t bytes[kPanelBlocks][512];  // inputs 4k..4k+3 of 16 outputs, k ascending
    float scales[kPanelBlocks][kParts][16];
    float offsets[kPanelBlocks][kOffsetParts + 1][16];

    void Unpack(const uint8_t* weights, int64_t first, int64_t count) {
      for (int64_t b = 0; b < count; ++b) {
        const Tile tile(weights, first + b);
        for (int j = 0; j < 4; ++j) {
          typename S::Pair w = tile.Load(j);
          if constexpr (Tile::kSum == Sum::kBits6) {
            w.low = _mm512_sub_epi8(w.low, _mm512_set1_epi8(32));
            w.high = _mm512_sub_epi8(w.high, _mm512_set1_epi8(32));
          }
          _mm512_store_si512(bytes[b] + 64 * j, w.low);
          _mm512_store_si512(bytes[b] + 256 + 64 * j, w.high);
        }
        for (int part = 0; part < kParts; ++part) S::Store(scales[b][part], tile.Scale(part));
        if constexpr (kOffsetParts > 0) {
          for (int part = 0; part < kOffsetParts; ++part) {
            S::Store(offsets[b][part], tile.Offset(part));
          }
        }
      }
    }
  };

  // Tile 0: sums, tile 1: rows of x, tile 2: weights.
  template <int M>
  static void Configure(int& configured) {
    if (configured == M) return;
    configured = M;
    struct alignas(64) {
      uint8_t palette, start_row, reserved[14];
      uint16_t bytes[16];
      uint8_t rows[16];
    } config = {};
    config.palette = 1;
    config.bytes[0] = 64;
    config.rows[0] = M;
    config.bytes[1] = kPartBytes;
    config.rows[1] = M;
    config.bytes[2] = 64;
    config.rows[2] = kPartBytes / 4;
    _tile_loadconfig(&config);
  }

  template <int M>
  struct alignas(64) Products {
    int32_t sums[kParts][M][16];
  };

  // Integer products of one block.
  template <int M>
  static void Multiply(const uint8_t* weights, const int8_t* q, Products<M>& out) {
    for (int part = 0; part < kParts; ++part) {
      _tile_zero(0);
      _tile_loadd(1, q + part * kPartBytes, kQBlock);
      _tile_loadd(2, weights + part * (512 / kParts), 64);
      if constexpr (Tile::kSum == Sum::kBits4 || Tile::kSum == Sum::kBits5) {
        _tile_dpbsud(0, 1, 2);
      } else {
        _tile_dpbssd(0, 1, 2);
      }
      _tile_stored(0, out.sums[part], 64);
    }
  }

  // M rows of x against `count` blocks of one group; the sums before `first` are in args.out.
  template <int M, bool kFetchNow>
  static void Rows(const MatmulArgs& args, const Panel& panel, const FetchAhead<S>& ahead,
                   int64_t group, int64_t row, int64_t first, int64_t count) {
    const int64_t stride = args.x.stride;
    const int64_t at = first * stride + row;
    const int8_t* q = args.x.q + at * kQBlock;
    const float* scale = args.x.scale + at;
    const float* scaled_sum = args.x.scaled_sum + at;
    const int32_t* minus = args.x.minus128sum + 2 * at;
    float* out = args.out + row * args.out_stride + group * kGroupRows;
    const int outputs =
        static_cast<int>(std::min<int64_t>(kGroupRows, args.outputs - group * kGroupRows));
    F sums[M];
#pragma GCC unroll 16
    for (int r = 0; r < M; ++r) {
      sums[r] = first == 0 ? S::Set1(0.0f) : S::LoadFirst(out + r * args.out_stride, outputs);
    }
    // The tile unit works on the next blocks while these are scaled.
    Products<M> products[2][kAhead];
    const auto multiply = [&](int64_t begin) {
      const int64_t end = std::min(begin + kAhead, count);
      for (int64_t b = begin; b < end; ++b) {
        if constexpr (kFetchNow) ahead.Fetch(b);
        Multiply<M>(panel.bytes[b], q + b * stride * kQBlock, products[b / kAhead % 2][b - begin]);
      }
    };
    multiply(0);
    for (int64_t b = 0; b < count;
         ++b, scale += stride, scaled_sum += stride, minus += 2 * stride) {
      if (b % kAhead == 0) multiply(b + kAhead);
      const Products<M>& now = products[b / kAhead % 2][b % kAhead];
#pragma GCC unroll 2
      for (int part = 0; part < kParts; ++part) {
        const F d = S::Load(panel.scales[b][part]);
#pragma GCC unroll 16
        for (int r = 0; r < M; ++r) {
          const F dot = S::ToFloat(_mm512_load_si512(now.sums[part][r]));
          sums[r] = S::Fma(dot, S::Mul(d, S::Set1(scale[r])), sums[r]);
        }
      }
      if constexpr (Tile::kOffsets == Offsets::kBlock) {
        const F m = S::Load(panel.offsets[b][0]);
#pragma GCC unroll 16
        for (int r = 0; r < M; ++r) sums[r] = S::Fma(m, S::Set1(scaled_sum[r]), sums[r]);
      }
      if constexpr (Tile::kOffsets == Offsets::kHalves) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const F m = S::Load(panel.offsets[b][half]);
#pragma GCC unroll 16
          for (int r = 0; r < M; ++r) {
            const float sum = static_cast<float>(minus[2 * r + half]) * -0.0078125f;
            sums[r] = S::Fma(m, S::Set1(scale[r] * sum), sums[r]);
          }
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < M; ++r) S::StoreFirst(out + r * args.out_stride, sums[r], outputs);
  }
};

}  // namespace weft::cpu
