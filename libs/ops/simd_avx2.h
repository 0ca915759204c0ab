// 16 lanes as two AVX2 registers. Included only by kernels_avx2.cc.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "libs/ops/quant_tiles.h"

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

  static F LoadUnsigned(const uint8_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(Load64(p))),
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(Load64(p + 8)))};
  }
  static F LoadSignedBytes(const uint8_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(Load64(p))),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(Load64(p + 8)))};
  }

  // x, computed here: GCC would put integer sums off to where they are used, and run out of
  // registers for what they are sums of.
  static __m256i Now(__m256i x) {
    asm("" : "+x"(x));
    return x;
  }

  struct Pair {
    I low, high;
  };
  static Pair LoadNibbles(const uint8_t* p) {
    const I packed = LoadInt(p);
    const __m256i mask = _mm256_set1_epi8(15);
    return {{_mm256_and_si256(packed.a, mask), _mm256_and_si256(packed.b, mask)},
            {_mm256_and_si256(_mm256_srli_epi16(packed.a, 4), mask),
             _mm256_and_si256(_mm256_srli_epi16(packed.b, 4), mask)}};
  }
  static Pair LoadSigned(const uint8_t* low, const uint8_t* high) {
    return {LoadInt(low), LoadInt(high)};
  }
  static Pair AddFifthBit(const Pair& w, const uint8_t* plane, int j) {
    const I bits = LoadInt(plane);
    return {
        OrMasked(w.low, {_mm256_slli_epi16(bits.a, 4 - j), _mm256_slli_epi16(bits.b, 4 - j)}, 0x10),
        OrMasked(w.high, {_mm256_srli_epi16(bits.a, j), _mm256_srli_epi16(bits.b, j)}, 0x10)};
  }
  static Pair AddTwoBits(const Pair& w, const uint8_t* planes, int j) {
    return {OrMasked(w.low, ToBits45(LoadInt(planes), j), 0x30),
            OrMasked(w.high, ToBits45(LoadInt(planes + 64), j), 0x30)};
  }

  // Sums of pairs of products in 16 bits, as many as fit: weights of 4 bits leave room for a whole
  // block (8 * 2 * 15 * 127 = 30480), of 5 for half (4 * 2 * 31 * 127 = 31496), of 6 for a quarter
  // (2 * 2 * 63 * 127 = 32004), signed bytes (2 * 128 * 127 = 32512) for one pair.
  template <Sum K, int R>
  struct Acc {
    I low, high;  // 16 bits
    I sums[2];    // 32 bits
  };
  template <Sum K, int R>
  static void Start(Acc<K, R>& acc, const int32_t* minus128sum) {
    if constexpr (K == Sum::kBits6) {
      acc.sums[0] = IntSet1(minus128sum[0] >> 2);
      acc.sums[1] = IntSet1(minus128sum[1] >> 2);
    } else if constexpr (K == Sum::kSigned || K == Sum::kSignedHalves) {
      acc.sums[0] = acc.sums[1] = IntSet1(0);
    }
  }
  template <Sum K, int R>
  static void Dot(Acc<K, R>& acc, const Pair& w, const int8_t* x, int j) {
    if constexpr (K == Sum::kSigned || K == Sum::kSignedHalves) {
      // |w| * (x with w's sign).
      const __m256i quads[2] = {Quad(x), Quad(x + 16)};
      for (int half = 0; half < 2; ++half) {
        const I& bytes = half == 0 ? w.low : w.high;
        const I products = {
            _mm256_maddubs_epi16(_mm256_abs_epi8(bytes.a), _mm256_sign_epi8(quads[half], bytes.a)),
            _mm256_maddubs_epi16(_mm256_abs_epi8(bytes.b), _mm256_sign_epi8(quads[half], bytes.b))};
        I& sum = acc.sums[K == Sum::kSigned ? 0 : half];
        sum = IntAdd(sum, Widen(products));
      }
    } else {
      const I low = Products(w.low, Quad(x));
      const I high = Products(w.high, Quad(x + 16));
      if constexpr (K == Sum::kBits4) {
        const I both = AddWords(low, high);
        acc.low = j == 0 ? both : AddWords(acc.low, both);
      } else if constexpr (K == Sum::kBits5) {
        acc.low = j == 0 ? low : AddWords(acc.low, low);
        acc.high = j == 0 ? high : AddWords(acc.high, high);
      } else if (j % 2 == 0) {
        acc.low = low;
        acc.high = high;
      } else {
        acc.sums[0] = IntAdd(acc.sums[0], Widen(AddWords(acc.low, low)));
        acc.sums[1] = IntAdd(acc.sums[1], Widen(AddWords(acc.high, high)));
      }
    }
  }
  template <Sum K, int R>
  static I Finish(const Acc<K, R>& acc, int half) {
    if constexpr (K == Sum::kBits4) return Widen(acc.low);
    if constexpr (K == Sum::kBits5) return IntAdd(Widen(acc.low), Widen(acc.high));
    return acc.sums[half];
  }

 private:
  static __m128i Load128(const uint16_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static __m128i Load64(const uint8_t* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  static I Products(const I& w, __m256i x) {
    return {_mm256_maddubs_epi16(w.a, x), _mm256_maddubs_epi16(w.b, x)};
  }
  static I AddWords(const I& x, const I& y) {
    return {Now(_mm256_add_epi16(x.a, y.a)), Now(_mm256_add_epi16(x.b, y.b))};
  }
  static I Widen(const I& x) {
    const __m256i ones = _mm256_set1_epi16(1);
    return {_mm256_madd_epi16(x.a, ones), _mm256_madd_epi16(x.b, ones)};
  }
  static I OrMasked(const I& x, const I& y, int8_t mask) {
    const __m256i bits = _mm256_set1_epi8(mask);
    return {_mm256_or_si256(x.a, _mm256_and_si256(y.a, bits)),
            _mm256_or_si256(x.b, _mm256_and_si256(y.b, bits))};
  }
  // Bits 2j and 2j + 1 of each byte to 4 and 5; what else is there is masked away after.
  static I ToBits45(const I& x, int j) {
    if (j < 2) return {_mm256_slli_epi16(x.a, 4 - 2 * j), _mm256_slli_epi16(x.b, 4 - 2 * j)};
    return {_mm256_srli_epi16(x.a, 2 * j - 4), _mm256_srli_epi16(x.b, 2 * j - 4)};
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
