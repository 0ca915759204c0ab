// 16 lanes as one AVX-512 register. Included only by kernels_avx512.cc.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "libs/ops/quant_tiles.h"

namespace weft::cpu {

struct SimdAvx512 {
  using F = __m512;
  using I = __m512i;
  static constexpr int kMatmulRows = 8;   // rows of x per pass over a weight tile
  static constexpr int kQueries = 8;      // queries per pass over a strip of K or V
  static constexpr int kScoreStrips = 2;  // strips of 16 lanes per pass

  static F Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, F a) { _mm512_storeu_ps(p, a); }
  static F Set1(float a) { return _mm512_set1_ps(a); }
  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  // a > b ? a : b, so b when either is not a number.
  static F Max(F a, F b) { return _mm512_max_ps(a, b); }
  static F Min(F a, F b) { return _mm512_min_ps(a, b); }
  static F Abs(F a) { return _mm512_abs_ps(a); }

  static I IntSet1(int32_t a) { return _mm512_set1_epi32(a); }
  static I IntAdd(I a, I b) { return _mm512_add_epi32(a, b); }
  static I IntSub(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I ShiftToExponent(I a) { return _mm512_slli_epi32(a, 23); }
  static I AsInt(F a) { return _mm512_castps_si512(a); }
  static F AsFloat(I a) { return _mm512_castsi512_ps(a); }
  static F ToFloat(I a) { return _mm512_cvtepi32_ps(a); }
  // The low byte of each lane.
  static void StoreBytes(int8_t* p, I a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a));
  }

  static F LoadHalf(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void StoreHalf(uint16_t* p, F a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static F LoadBf16(const uint16_t* p) {
    const __m512i wide =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }

  // The first n lanes of a, the others of b.
  static F FirstLanes(int n, F a, F b) { return _mm512_mask_blend_ps(Mask(n), b, a); }
  static F LoadFirst(const float* p, int n) { return _mm512_maskz_loadu_ps(Mask(n), p); }
  static void StoreFirst(float* p, F a, int n) { _mm512_mask_storeu_ps(p, Mask(n), a); }

  static float ReduceAdd(F a) {
    const __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
  }
  static float ReduceMax(F a) {
    const __m256 b = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
  }

  // 16 bytes as floats.
  static F LoadUnsigned(const uint8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(Load128(p)));
  }
  static F LoadSignedBytes(const uint8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(Load128(p)));
  }

  // 16 outputs x 4 inputs, twice (quant_tiles.h). Unsigned: signed ones
  // have 128 added.
  struct Pair {
    I low, high;
  };
  static Pair LoadNibbles(const uint8_t* p) {
    const I packed = _mm512_loadu_si512(p);
    const I mask = _mm512_set1_epi8(15);
    return {_mm512_and_si512(packed, mask), _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask)};
  }
  static Pair LoadSigned(const uint8_t* low, const uint8_t* high) {
    const I flip = _mm512_set1_epi8(-128);
    return {_mm512_xor_si512(_mm512_loadu_si512(low), flip),
            _mm512_xor_si512(_mm512_loadu_si512(high), flip)};
  }
  // Bit j of the plane belongs to the low vector, bit 4 + j to the high one.
  static Pair AddFifthBit(Pair w, const uint8_t* plane, int j) {
    const I bits = _mm512_loadu_si512(plane);
    return {OrMasked(w.low, _mm512_slli_epi16(bits, 4 - j), 0x10),
            OrMasked(w.high, _mm512_srli_epi16(bits, j), 0x10)};
  }
  // Bits 2j and 2j + 1 of the first plane belong to the low vector, of the second to the high one.
  static Pair AddTwoBits(Pair w, const uint8_t* planes, int j) {
    return {OrMasked(w.low, ToBits45(_mm512_loadu_si512(planes), j), 0x30),
            OrMasked(w.high, ToBits45(_mm512_loadu_si512(planes + 64), j), 0x30)};
  }

  // Sums of one row's products in a block. Few rows have too few independent sums to hide the
  // latency of the dot product: each gets two.
  template <Sum K, int R>
  struct Acc {
    static constexpr int kSums = HasHalves(K) || R < 4 ? 2 : 1;
    I sums[kSums];
  };
  template <Sum K, int R>
  static void Start(Acc<K, R>& acc, const int32_t* minus128sum) {
    if constexpr (K == Sum::kSigned) {
      acc.sums[0] = _mm512_set1_epi32(minus128sum[0] + minus128sum[1]);
      if constexpr (Acc<K, R>::kSums == 2) acc.sums[1] = _mm512_setzero_si512();
    } else if constexpr (K == Sum::kBits6) {
      acc.sums[0] = _mm512_srai_epi32(_mm512_set1_epi32(minus128sum[0]), 2);
      acc.sums[1] = _mm512_srai_epi32(_mm512_set1_epi32(minus128sum[1]), 2);
    } else if constexpr (K == Sum::kSignedHalves) {
      acc.sums[0] = _mm512_set1_epi32(minus128sum[0]);
      acc.sums[1] = _mm512_set1_epi32(minus128sum[1]);
    } else {
      for (I& sum : acc.sums) sum = _mm512_setzero_si512();
    }
  }
  // x: the row's block at 4j.
  template <Sum K, int R>
  static void Dot(Acc<K, R>& acc, const Pair& w, const int8_t* x, int) {
    I& high = acc.sums[Acc<K, R>::kSums - 1];
    acc.sums[0] = _mm512_dpbusd_epi32(acc.sums[0], w.low, Quad(x));
    high = _mm512_dpbusd_epi32(high, w.high, Quad(x + 16));
  }
  template <Sum K, int R>
  static I Finish(const Acc<K, R>& acc, int half) {
    if constexpr (HasHalves(K)) return acc.sums[half];
    if constexpr (Acc<K, R>::kSums == 2) return _mm512_add_epi32(acc.sums[0], acc.sums[1]);
    return acc.sums[0];
  }

 private:
  static __mmask16 Mask(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static __m128i Load128(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static I OrMasked(I a, I b, int8_t mask) {
    return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi8(mask), 0xf8);  // a | (b & mask)
  }
  // Bits 2j and 2j + 1 of each byte to 4 and 5; what else is there is masked away after.
  static I ToBits45(I bits, int j) {
    return j < 2 ? _mm512_slli_epi16(bits, 4 - 2 * j) : _mm512_srli_epi16(bits, 2 * j - 4);
  }
  static I Quad(const int8_t* x) {
    int32_t bytes;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm512_set1_epi32(bytes);
  }
};

}  // namespace weft::cpu
