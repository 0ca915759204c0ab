// 16 lanes as two AVX2 registers. Included only by kernels_avx2.cc.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace weft::cpu {

struct SimdAvx2 {
  struct F {
    __m256 a, b;
  };
  struct I {
    __m256i a, b;
  };
  static constexpr int kMatmulRows = 4;
  static constexpr int kQueries = 6;
  static constexpr int kScoreStrips = 1;  // strips of 16 lanes per pass

  static F Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void Store(float* p, F x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
  }
  static F Set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static F Add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static F Sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  static F Mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static F Div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  static F Fma(F x, F y, F z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
  }
  static F Max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  static F Min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  static F Abs(F x) {
    const __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    return {_mm256_and_ps(x.a, mask), _mm256_and_ps(x.b, mask)};
  }

  static I IntSet1(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  static I IntAdd(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
  static I IntSub(I x, I y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
  static I ShiftToExponent(I x) { return {_mm256_slli_epi32(x.a, 23), _mm256_slli_epi32(x.b, 23)}; }
  static I AsInt(F x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
  static F AsFloat(I x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
  static F ToFloat(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
  static void StoreBytes(int8_t* p, I x) {
    // Values are within [-127, 127]: the saturating packs do not change them.
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  }

  static F LoadHalf(const uint16_t* p) {
    return {_mm256_cvtph_ps(Load128(p)), _mm256_cvtph_ps(Load128(p + 8))};
  }
  static void StoreHalf(uint16_t* p, F x) {
    constexpr int kRound = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.a, kRound));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(x.b, kRound));
  }
  static F LoadBf16(const uint16_t* p) {
    const __m256i a = _mm256_slli_epi32(_mm256_cvtepu16_epi32(Load128(p)), 16);
    const __m256i b = _mm256_slli_epi32(_mm256_cvtepu16_epi32(Load128(p + 8)), 16);
    return {_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)};
  }

  static F FirstLanes(int n, F x, F y) {
    const I mask = LaneMask(n);
    return {_mm256_blendv_ps(y.a, x.a, _mm256_castsi256_ps(mask.a)),
            _mm256_blendv_ps(y.b, x.b, _mm256_castsi256_ps(mask.b))};
  }
  static F LoadFirst(const float* p, int n) {
    const I mask = LaneMask(n);
    return {_mm256_maskload_ps(p, mask.a), _mm256_maskload_ps(p + 8, mask.b)};
  }
  static void StoreFirst(float* p, F x, int n) {
    const I mask = LaneMask(n);
    _mm256_maskstore_ps(p, mask.a, x.a);
    _mm256_maskstore_ps(p + 8, mask.b, x.b);
  }

  static float ReduceAdd(F x) {
    const __m256 b = _mm256_add_ps(x.a, x.b);
    const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
  }
  static float ReduceMax(F x) {
    const __m256 b = _mm256_max_ps(x.a, x.b);
    const __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
  }

  struct Q4 {
    I low, high;
  };
  static Q4 LoadQ4(const uint8_t* p) {
    const I packed = LoadInt(p);
    const __m256i mask = _mm256_set1_epi8(15);
    return {{_mm256_and_si256(packed.a, mask), _mm256_and_si256(packed.b, mask)},
            {_mm256_and_si256(_mm256_srli_epi16(packed.a, 4), mask),
             _mm256_and_si256(_mm256_srli_epi16(packed.b, 4), mask)}};
  }
  // 16-bit sums hold a whole block: 8 pairs of at most 2 * 15 * 127 make 30480.
  template <int R>
  using Acc4 = I;
  template <int R>
  static I ZeroAcc4() {
    return {_mm256_setzero_si256(), _mm256_setzero_si256()};
  }
  static void Dot4(I& acc, const Q4& w, const int8_t* x) {
    const __m256i low = Quad(x);
    const __m256i high = Quad(x + 16);
    acc.a = _mm256_add_epi16(acc.a, _mm256_maddubs_epi16(w.low.a, low));
    acc.b = _mm256_add_epi16(acc.b, _mm256_maddubs_epi16(w.low.b, low));
    acc.a = _mm256_add_epi16(acc.a, _mm256_maddubs_epi16(w.high.a, high));
    acc.b = _mm256_add_epi16(acc.b, _mm256_maddubs_epi16(w.high.b, high));
  }
  static I Finish4(const I& acc) {
    const __m256i ones = _mm256_set1_epi16(1);
    return {_mm256_madd_epi16(acc.a, ones), _mm256_madd_epi16(acc.b, ones)};
  }

  // |w| * (x with w's sign): a pair is at most 2 * 128 * 127 = 32512, so nothing saturates.
  struct Q8 {
    I w, magnitude;
  };
  using Acc8 = I;
  static Q8 LoadQ8(const uint8_t* p) {
    const I w = LoadInt(p);
    return {w, {_mm256_abs_epi8(w.a), _mm256_abs_epi8(w.b)}};
  }
  static Acc8 StartAcc8(int32_t) { return IntSet1(0); }
  static void Dot8(Acc8& acc, const Q8& w, const int8_t* x) {
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256i quad = Quad(x);
    const __m256i a = _mm256_maddubs_epi16(w.magnitude.a, _mm256_sign_epi8(quad, w.w.a));
    const __m256i b = _mm256_maddubs_epi16(w.magnitude.b, _mm256_sign_epi8(quad, w.w.b));
    acc.a = _mm256_add_epi32(acc.a, _mm256_madd_epi16(a, ones));
    acc.b = _mm256_add_epi32(acc.b, _mm256_madd_epi16(b, ones));
  }
  static I Finish8(const Acc8& acc) { return acc; }

 private:
  static __m128i Load128(const uint16_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static I LoadInt(const uint8_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))};
  }
  static I LaneMask(int n) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return {_mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes),
            _mm256_cmpgt_epi32(_mm256_set1_epi32(n - 8), lanes)};
  }
  static __m256i Quad(const int8_t* x) {
    int32_t bytes;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm256_set1_epi32(bytes);
  }
};

}  // namespace weft::cpu
