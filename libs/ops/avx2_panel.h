// Matrix products of many rows on AVX2. Included only by kernels_avx2.cc.
//
// A group's weights are unpacked once per 1,024 inputs (512 of signed ones) into a panel that stays
// in L1, and used for all rows; meanwhile the next ones are fetched. The registers hold integer
// sums of four rows; the fp32 sums stay in memory, read and written once a block. Signed bytes are
// multiplied as words, since the sum of two of their products needs 17 bits. All sums are exact,
// and what follows them is operation for operation what QuantPass does, so the bits are the same.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "libs/ops/kernels.h"
#include "libs/ops/matmul_kernels.h"
#include "libs/ops/quant_tiles.h"
#include "libs/ops/simd_avx2.h"

namespace weft::cpu {

// fn(0) ... fn(N - 1) with constants: the compiler keeps arrays indexed by them in registers.
template <int N, typename Fn>
[[gnu::always_inline]] inline void Unroll(Fn&& fn) {
  [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) __attribute__((always_inline)) {
    (fn(std::integral_constant<int, kIndex>{}), ...);
  }
  (std::make_integer_sequence<int, N>{});
}

// kFetch: the weights of the next panel are fetched while this one is used. kGroups: x becomes
// words once for so many groups, where it does.
template <typename Tile, bool kFetch = true, int64_t kGroups = 16>
class Avx2Panel {
 public:
  using S = SimdAvx2;
  static constexpr int kRows = 4;  // of x in one pass

  // All groups of the first args.rows / kRows * kRows rows.
  static void Run(const MatmulArgs& args) {
    const int64_t whole = args.rows / kRows * kRows;
    Room room;
    for (int64_t group = 0; group < args.groups; group += kGroupsAtOnce) {
      const int64_t groups = std::min(kGroupsAtOnce, args.groups - group);
      for (int64_t row = 0; row < whole; row += kRowsAtOnce) {
        Chunk(args, room, group, groups, row, std::min(kRowsAtOnce, whole - row));
      }
    }
  }

 private:
  static constexpr Sum kSum = Tile::kSum;
  static constexpr bool kSigned = kSum == Sum::kSigned || kSum == Sum::kSignedHalves;
  static constexpr int64_t kPanelBlocks = kSigned ? 16 : 32;
  static constexpr int kParts = HasHalves(kSum) ? 2 : 1;
  static constexpr int kOffsetParts = Tile::kOffsets == Offsets::kHalves ? 2 : 1;
  // Pairs of products that fit 16 bits when summed (SimdAvx2::Acc).
  static constexpr int kFit = kSum == Sum::kBits4 ? 8 : kSum == Sum::kBits5 ? 4 : 2;

  // Registers of eight outputs at a time.
  static constexpr int kWide = kSigned ? 2 : 1;

  static constexpr int64_t kGroupsAtOnce = kSigned ? kGroups : 1;
  static constexpr int64_t kRowsAtOnce = kSigned ? 64 : int64_t{1} << 62;

  struct alignas(64) Panel {
    // Inputs 4k..4k+3 of 16 outputs, k ascending; of signed ones first the even inputs as words,
    // then the odd ones.
    uint8_t bytes[kPanelBlocks][8][kSigned ? 128 : 64];
    float scales[kPanelBlocks][kParts][16];
    float offsets[kPanelBlocks][kOffsetParts][16];  // left as they are where there are none

    void Unpack(const uint8_t* weights, int64_t first, int64_t count) {
      for (int64_t b = 0; b < count; ++b) {
        const Tile tile(weights, first + b);
        for (int j = 0; j < 4; ++j) {
          const S::Pair w = tile.Load(j);
          Put(b, j, w.low);
          Put(b, 4 + j, w.high);
        }
        for (int part = 0; part < kParts; ++part) S::Store(scales[b][part], tile.Scale(part));
        if constexpr (Tile::kOffsets != Offsets::kNone) {
          for (int part = 0; part < kOffsetParts; ++part) {
            S::Store(offsets[b][part], tile.Offset(part));
          }
        }
      }
    }
    void Put(int64_t b, int k, const S::I& w) {
      if constexpr (kSigned) {
        StoreWords(bytes[b][k], w.a, 64);
        StoreWords(bytes[b][k] + 32, w.b, 64);
      } else {
        Store(bytes[b][k], w.a);
        Store(bytes[b][k] + 32, w.b);
      }
    }
  };
  // Rows of x for signed weights: of each block eight pairs of even inputs, then of odd ones.
  struct alignas(64) Words {
    uint8_t bytes[kSigned ? kRowsAtOnce / kRows : 1][kPanelBlocks][kRows][64];

    // `rows` rows of `count` blocks.
    void Widen(const QuantizedRows& x, int64_t rows, int64_t count) {
      for (int64_t b = 0; b < count; ++b) {
        const auto* q = reinterpret_cast<const __m256i*>(x.q + b * x.stride * kQBlock);
        for (int64_t r = 0; r < rows; ++r) {
          StoreWords(bytes[r / kRows][b][r % kRows], _mm256_loadu_si256(q + r), 32);
        }
      }
    }
  };
  struct Nothing {};
  struct Room {
    Panel panel;
    [[no_unique_address]] std::conditional_t<kSigned, Words, Nothing> words;
  };
  using Ahead = FetchAhead<S>;

  // Rows [row, row + rows) with groups [group, group + groups).
  static void Chunk(const MatmulArgs& args, Room& room, int64_t group, int64_t groups, int64_t row,
                    int64_t rows) {
    const int64_t blocks = args.cols / kQBlock;
    const int64_t group_bytes = GroupBytes(args.layout, args.cols);
    const int64_t block_bytes = group_bytes / blocks;
    const uint8_t* weights = args.weights + group * group_bytes;
    for (int64_t first = 0; first < blocks; first += kPanelBlocks) {
      const int64_t count = std::min(kPanelBlocks, blocks - first);
      if constexpr (kSigned) room.words.Widen(args.x.from(row, first), rows, count);
      for (int64_t g = 0; g < groups; ++g) {
        room.panel.Unpack(weights + g * group_bytes, first, count);
        // The same blocks of the next group, else the next blocks, else the next groups.
        const int64_t next = g + 1 < groups           ? (g + 1) * blocks + first
                             : first + count < blocks ? first + count
                                                      : groups * blocks;
        Ahead ahead(weights + next * block_bytes, block_bytes, rows / kRows);
        for (int64_t r = 0; r < rows; r += kRows, ahead.EndTurn()) {
          if (kFetch && !ahead.Done()) {
            Rows<true>(args, room, ahead, group + g, row, r, first, count);
          } else {
            Rows<false>(args, room, ahead, group + g, row, r, first, count);
          }
        }
      }
    }
  }

  // The even bytes as words, the odd ones `apart` bytes behind.
  static void StoreWords(uint8_t* p, __m256i x, int apart) {
    Store(p, _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
    Store(p + apart, _mm256_srai_epi16(x, 8));
  }
  static void Store(uint8_t* p, __m256i x) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), x); }
  static __m256i Load(const uint8_t* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }

  static __m256i Quad(const void* x) {
    int32_t bytes;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm256_set1_epi32(bytes);
  }

  // One block's products of kRows rows with outputs [8 * wide, 8 * wide + 8); `finish` takes (row,
  // part, 32-bit sums). x: of the first row, apart by kQBlock; of signed weights, Words.
  template <typename Finish>
  [[gnu::always_inline]] static void Block(const uint8_t (&weights)[8][kSigned ? 128 : 64],
                                           int wide, const void* x, const int32_t* minus,
                                           Finish&& finish) {
    constexpr int kSteps = 8 / kParts;  // of a part
    __m256i acc[kRows];                 // 16 bits, of up to kFit pairs
    __m256i sums[kRows][kWide];         // 32 bits, of a part
    Unroll<8>([&](auto at) __attribute__((always_inline)) {
      constexpr int k = at;
      constexpr int kPart = kParts == 2 ? k / 4 : 0;
      [[maybe_unused]] const __m256i w = Load(weights[k] + 32 * wide);
      Unroll<kRows>([&](auto row) __attribute__((always_inline)) {
        constexpr int r = row;
        if constexpr (kSigned) {
          const auto* words = static_cast<const uint8_t*>(x) + 64 * r + 4 * k;
          const __m256i even = Quad(words);
          const __m256i odd = Quad(words + 32);
          Unroll<kWide>([&](auto i) __attribute__((always_inline)) {
            const __m256i a = _mm256_madd_epi16(Load(weights[k] + 32 * (wide + i)), even);
            const __m256i b = _mm256_madd_epi16(Load(weights[k] + 64 + 32 * (wide + i)), odd);
            if constexpr (k % kSteps == 0) {
              sums[r][i] = _mm256_add_epi32(a, b);
            } else {
              sums[r][i] = S::Now(_mm256_add_epi32(S::Now(_mm256_add_epi32(sums[r][i], a)), b));
            }
            if constexpr ((k + 1) % kSteps == 0) finish(r, kPart, wide + i, sums[r][i]);
          });
        } else {
          const auto* bytes = static_cast<const int8_t*>(x) + r * kQBlock + 4 * k;
          const __m256i products = _mm256_maddubs_epi16(w, Quad(bytes));
          if constexpr (k % kFit == 0) {
            acc[r] = products;
          } else {
            acc[r] = S::Now(_mm256_add_epi16(acc[r], products));
          }
          if constexpr ((k + 1) % kFit == 0) {
            __m256i wider = _mm256_madd_epi16(acc[r], _mm256_set1_epi16(1));
            if constexpr (k % kSteps + 1 > kFit) {
              sums[r][0] = S::Now(_mm256_add_epi32(sums[r][0], wider));
            } else if constexpr (kSum == Sum::kBits6) {
              sums[r][0] = _mm256_add_epi32(
                  wider, _mm256_srai_epi32(_mm256_set1_epi32(minus[2 * r + kPart]), 2));
            } else {
              sums[r][0] = wider;
            }
          }
          if constexpr ((k + 1) % kSteps == 0) finish(r, kPart, wide, sums[r][0]);
        }
      });
    });
  }

  // Rows [chunk + r, chunk + r + kRows) of x against `count` blocks of one group; the sums before
  // `first` are in args.out.
  template <bool kFetchNow>
  static void Rows(const MatmulArgs& args, const Room& room, const Ahead& ahead, int64_t group,
                   int64_t chunk, int64_t r0, int64_t first, int64_t count) {
    const Panel& panel = room.panel;
    const int64_t row = chunk + r0;
    const int64_t stride = args.x.stride;
    const int64_t at = first * stride + row;
    const int8_t* q = args.x.q + at * kQBlock;
    const float* scale = args.x.scale + at;
    const float* scaled_sum = args.x.scaled_sum + at;
    const int32_t* minus = args.x.minus128sum + 2 * at;
    float* out = args.out + row * args.out_stride + group * kGroupRows;
    const int outputs =
        static_cast<int>(std::min<int64_t>(kGroupRows, args.outputs - group * kGroupRows));
    alignas(64) float sums[kRows][kGroupRows];
    for (int r = 0; r < kRows; ++r) {
      S::Store(sums[r],
               first == 0 ? S::Set1(0.0f) : S::LoadFirst(out + r * args.out_stride, outputs));
    }
    for (int64_t b = 0; b < count;
         ++b, q += stride * kQBlock, scale += stride, scaled_sum += stride, minus += 2 * stride) {
      if constexpr (kFetchNow) ahead.Fetch(b);
      const void* x = q;
      if constexpr (kSigned) x = room.words.bytes[r0 / kRows][b];
#pragma GCC unroll 2
      for (int wide = 0; wide < 2; wide += kWide) {
        // The compiler would keep the fp32 sums in registers and the integers in memory.
        asm volatile("" : : "r"(&sums[0][0]) : "memory");
        Block(
            panel.bytes[b], wide, x,
            minus, [&](int r, int part, int i, __m256i dot) __attribute__((always_inline)) {
              const int lane = 8 * i;
              const __m256 d = _mm256_load_ps(panel.scales[b][part] + lane);
              __m256 sum = _mm256_load_ps(sums[r] + lane);
              sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot),
                                    _mm256_mul_ps(d, _mm256_set1_ps(scale[r])), sum);
              if constexpr (Tile::kOffsets == Offsets::kBlock) {
                const __m256 m = _mm256_load_ps(panel.offsets[b][0] + lane);
                sum = _mm256_fmadd_ps(m, _mm256_set1_ps(scaled_sum[r]), sum);
              }
              if (Tile::kOffsets == Offsets::kHalves && part == 1) {
                for (int half = 0; half < 2; ++half) {
                  const __m256 m =
                      _mm256_load_ps(panel.offsets[b][half * (kOffsetParts - 1)] + lane);
                  const float x = static_cast<float>(minus[2 * r + half]) * -0.0078125f;
                  sum = _mm256_fmadd_ps(m, _mm256_set1_ps(scale[r] * x), sum);
                }
              }
              _mm256_store_ps(sums[r] + lane, sum);
            });
      }
    }
    for (int r = 0; r < kRows; ++r) {
      S::StoreFirst(out + r * args.out_stride, S::Load(sums[r]), outputs);
    }
  }
};

// Many rows by panels, what is left of them by passes.
template <typename Tile>
void Avx2PanelMatmul(const MatmulArgs& args, int64_t least_rows) {
  const int64_t whole = args.rows / Avx2Panel<Tile>::kRows * Avx2Panel<Tile>::kRows;
  if (whole < least_rows) return Matmul<SimdAvx2>(args);
  if (whole == args.rows) return Avx2Panel<Tile>::Run(args);
  InCachedGroups<SimdAvx2>(args, [whole](const MatmulArgs& part) {
    Avx2Panel<Tile>::Run(part);
    MatmulArgs rest = part;
    rest.rows -= whole;
    rest.x = part.x.from(whole);
    rest.out += whole * part.out_stride;
    Matmul<SimdAvx2>(rest);
  });
}

inline void Avx2Matmul(const MatmulArgs& args) {
  using S = SimdAvx2;
  // Unpacking to words costs more than unpacking to bytes.
  constexpr int64_t kBytes = 8;
  constexpr int64_t kWords = 16;
  switch (args.layout) {
    case Layout::kQ4:
      return Avx2PanelMatmul<Q4Tile<S>>(args, kBytes);
    case Layout::kQ8:
      return Avx2PanelMatmul<Q8Tile<S>>(args, kWords);
    case Layout::kQ4K:
      return Avx2PanelMatmul<Q4KTile<S>>(args, kBytes);
    case Layout::kQ5K:
      return Avx2PanelMatmul<Q5KTile<S>>(args, kBytes);
    case Layout::kQ6:
      return Avx2PanelMatmul<Q6Tile<S>>(args, kBytes);
    case Layout::kCodes:
      return Avx2PanelMatmul<CodesTile<S, false>>(args, kWords);
    case Layout::kCodesOffset:
      return Avx2PanelMatmul<CodesTile<S, true>>(args, kWords);
    case Layout::kF32:
    case Layout::kF16:
    case Layout::kBF16:
      return Matmul<S>(args);
  }
}

}  // namespace weft::cpu
