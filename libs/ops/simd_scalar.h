// 16 lanes as plain arrays: any machine, and the definition of what the other levels compute.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "libs/tensor/half.h"

namespace weft::cpu {

struct SimdScalar {
  struct F {
    float v[16];
  };
  struct I {
    int32_t v[16];
  };
  static constexpr int kMatmulRows = 4;
  static constexpr int kQueries = 4;
  static constexpr int kScoreStrips = 1;  // strips of 16 lanes per pass

  template <typename Fn>
  static F Each(Fn&& fn) {
    F out;
    for (int i = 0; i < 16; ++i) out.v[i] = fn(i);
    return out;
  }
  template <typename Fn>
  static I EachInt(Fn&& fn) {
    I out;
    for (int i = 0; i < 16; ++i) out.v[i] = fn(i);
    return out;
  }

  static F Load(const float* p) {
    F out;
    std::memcpy(out.v, p, sizeof(out.v));
    return out;
  }
  static void Store(float* p, const F& a) { std::memcpy(p, a.v, sizeof(a.v)); }
  static F Set1(float a) {
    return Each([&](int) { return a; });
  }
  static F Add(const F& a, const F& b) {
    return Each([&](int i) { return a.v[i] + b.v[i]; });
  }
  static F Sub(const F& a, const F& b) {
    return Each([&](int i) { return a.v[i] - b.v[i]; });
  }
  static F Mul(const F& a, const F& b) {
    return Each([&](int i) { return a.v[i] * b.v[i]; });
  }
  static F Div(const F& a, const F& b) {
    return Each([&](int i) { return a.v[i] / b.v[i]; });
  }
  static F Fma(const F& a, const F& b, const F& c) {
    return Each([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
  }
  static F Max(const F& a, const F& b) {
    return Each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  static F Min(const F& a, const F& b) {
    return Each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
  }
  static F Abs(const F& a) {
    return Each([&](int i) { return std::fabs(a.v[i]); });
  }

  static I IntSet1(int32_t a) {
    return EachInt([&](int) { return a; });
  }
  static I IntAdd(const I& a, const I& b) {
    return EachInt([&](int i) { return Wrap(Bits(a.v[i]) + Bits(b.v[i])); });
  }
  static I IntSub(const I& a, const I& b) {
    return EachInt([&](int i) { return Wrap(Bits(a.v[i]) - Bits(b.v[i])); });
  }
  static I ShiftToExponent(const I& a) {
    return EachInt([&](int i) { return Wrap(Bits(a.v[i]) << 23); });
  }
  static I AsInt(const F& a) {
    I out;
    std::memcpy(out.v, a.v, sizeof(out.v));
    return out;
  }
  static F AsFloat(const I& a) {
    F out;
    std::memcpy(out.v, a.v, sizeof(out.v));
    return out;
  }
  static F ToFloat(const I& a) {
    return Each([&](int i) { return static_cast<float>(a.v[i]); });
  }
  static void StoreBytes(int8_t* p, const I& a) {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(a.v[i]);
  }

  static F LoadHalf(const uint16_t* p) {
    return Each([&](int i) { return HalfToFloat(p[i]); });
  }
  static void StoreHalf(uint16_t* p, const F& a) {
    for (int i = 0; i < 16; ++i) p[i] = FloatToHalf(a.v[i]);
  }
  static F LoadBf16(const uint16_t* p) {
    return Each([&](int i) { return Bf16ToFloat(p[i]); });
  }

  static F FirstLanes(int n, const F& a, const F& b) {
    return Each([&](int i) { return i < n ? a.v[i] : b.v[i]; });
  }
  static F LoadFirst(const float* p, int n) {
    return Each([&](int i) { return i < n ? p[i] : 0.0f; });
  }
  static void StoreFirst(float* p, const F& a, int n) {
    for (int i = 0; i < n; ++i) p[i] = a.v[i];
  }

  static float ReduceAdd(F a) {
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) a.v[i] = a.v[i] + a.v[i + half];
    }
    return a.v[0];
  }
  static float ReduceMax(F a) {
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) a.v[i] = a.v[i] > a.v[i + half] ? a.v[i] : a.v[i + half];
    }
    return a.v[0];
  }

  struct Q4 {
    uint8_t packed[64];
  };
  static Q4 LoadQ4(const uint8_t* p) {
    Q4 out;
    std::memcpy(out.packed, p, sizeof(out.packed));
    return out;
  }
  template <int R>
  using Acc4 = I;
  template <int R>
  static I ZeroAcc4() {
    return IntSet1(0);
  }
  static void Dot4(I& acc, const Q4& w, const int8_t* x) {
    for (int i = 0; i < 16; ++i) {
      int32_t sum = 0;
      for (int j = 0; j < 4; ++j) {
        const int32_t byte = w.packed[4 * i + j];
        sum += (byte & 15) * x[j] + (byte >> 4) * x[16 + j];
      }
      acc.v[i] += sum;
    }
  }
  static I Finish4(const I& acc) { return acc; }

  struct Q8 {
    int8_t w[64];
  };
  using Acc8 = I;
  static Q8 LoadQ8(const uint8_t* p) {
    Q8 out;
    std::memcpy(out.w, p, sizeof(out.w));
    return out;
  }
  static Acc8 StartAcc8(int32_t) { return IntSet1(0); }
  static void Dot8(Acc8& acc, const Q8& w, const int8_t* x) {
    for (int i = 0; i < 16; ++i) {
      int32_t sum = 0;
      for (int j = 0; j < 4; ++j) sum += static_cast<int32_t>(w.w[4 * i + j]) * x[j];
      acc.v[i] += sum;
    }
  }
  static I Finish8(const Acc8& acc) { return acc; }

 private:
  static uint32_t Bits(int32_t a) { return static_cast<uint32_t>(a); }
  static int32_t Wrap(uint32_t a) { return static_cast<int32_t>(a); }
};

}  // namespace weft::cpu
