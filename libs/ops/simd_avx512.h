// 16 lanes as one AVX-512 register. Included only by kernels_avx512.cc.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

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

  // Dot products of 4 neighbouring bytes: 16 rows of weights times 4 bytes of x for all.
  // Nibbles: weights 0..15.
  struct Q4 {
    I low, high;  // two byte quads: inputs k..k+3 and k+16..k+19
  };
  static Q4 LoadQ4(const uint8_t* p) {
    const I packed = _mm512_loadu_si512(p);
    const I mask = _mm512_set1_epi8(15);
    return {_mm512_and_si512(packed, mask), _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask)};
  }
  // One row alone has too few independent sums to hide the latency of the dot product: it gets two.
  template <int R>
  struct Acc4 {
    I sums[R < 4 ? 2 : 1];
  };
  template <int R>
  static Acc4<R> ZeroAcc4() {
    Acc4<R> acc;
    for (I& sum : acc.sums) sum = _mm512_setzero_si512();
    return acc;
  }
  template <int R>
  static void Dot4(Acc4<R>& acc, const Q4& w, const int8_t* x) {
    I& high = acc.sums[R < 4 ? 1 : 0];
    acc.sums[0] = _mm512_dpbusd_epi32(acc.sums[0], w.low, Quad(x));
    high = _mm512_dpbusd_epi32(high, w.high, Quad(x + 16));
  }
  template <int R>
  static I Finish4(const Acc4<R>& acc) {
    if constexpr (R < 4) return _mm512_add_epi32(acc.sums[0], acc.sums[1]);
    return acc.sums[0];
  }

  // Signed bytes, made unsigned by adding 128: the accumulator begins at -128 * sum of x.
  using Q8 = I;
  using Acc8 = I;
  static Q8 LoadQ8(const uint8_t* p) {
    return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128));
  }
  static Acc8 StartAcc8(int32_t minus128sum) { return _mm512_set1_epi32(minus128sum); }
  static void Dot8(Acc8& acc, Q8 w, const int8_t* x) { acc = _mm512_dpbusd_epi32(acc, w, Quad(x)); }
  static I Finish8(Acc8 acc) { return acc; }

 private:
  static __mmask16 Mask(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static I Quad(const int8_t* x) {
    int32_t bytes;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm512_set1_epi32(bytes);
  }
};

}  // namespace weft::cpu
