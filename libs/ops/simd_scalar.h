// 16 lanes as plain arrays: any machine, and the definition of what the other levels compute.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "libs/ops/quant_tiles.h"
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

  static F LoadUnsigned(const uint8_t* p) {
    return Each([&](int i) { return static_cast<float>(p[i]); });
  }
  static F LoadSignedBytes(const uint8_t* p) {
    return Each([&](int i) { return static_cast<float>(static_cast<int8_t>(p[i])); });
  }

  // 16 outputs x 4 inputs, twice (quant_tiles.h).
  struct Pair {
    uint8_t low[64], high[64];
  };
  static Pair LoadNibbles(const uint8_t* p) {
    Pair w;
    for (int i = 0; i < 64; ++i) {
      w.low[i] = p[i] & 15;
      w.high[i] = static_cast<uint8_t>(p[i] >> 4);
    }
    return w;
  }
  static Pair LoadSigned(const uint8_t* low, const uint8_t* high) {
    Pair w;
    std::memcpy(w.low, low, 64);
    std::memcpy(w.high, high, 64);
    return w;
  }
  static Pair AddFifthBit(Pair w, const uint8_t* plane, int j) {
    for (int i = 0; i < 64; ++i) {
      w.low[i] |= static_cast<uint8_t>(((plane[i] >> j) & 1) << 4);
      w.high[i] |= static_cast<uint8_t>(((plane[i] >> (4 + j)) & 1) << 4);
    }
    return w;
  }
  static Pair AddTwoBits(Pair w, const uint8_t* planes, int j) {
    for (int i = 0; i < 64; ++i) {
      w.low[i] |= static_cast<uint8_t>(((planes[i] >> (2 * j)) & 3) << 4);
      w.high[i] |= static_cast<uint8_t>(((planes[64 + i] >> (2 * j)) & 3) << 4);
    }
    return w;
  }

  template <Sum K, int R>
  struct Acc {
    I sums[2];
  };
  template <Sum K, int R>
  static void Start(Acc<K, R>& acc, const int32_t* minus128sum) {
    for (int h = 0; h < 2; ++h) {
      acc.sums[h] = IntSet1(K == Sum::kBits6 ? minus128sum[h] / 4 : 0);
    }
  }
  template <Sum K, int R>
  static void Dot(Acc<K, R>& acc, const Pair& w, const int8_t* x, int) {
    for (int i = 0; i < 16; ++i) {
      for (int k = 0; k < 4; ++k) {
        acc.sums[0].v[i] += Value<K>(w.low[4 * i + k]) * x[k];
        acc.sums[1].v[i] += Value<K>(w.high[4 * i + k]) * x[16 + k];
      }
    }
  }
  template <Sum K, int R>
  static I Finish(const Acc<K, R>& acc, int half) {
    if constexpr (HasHalves(K)) return acc.sums[half];
    return IntAdd(acc.sums[0], acc.sums[1]);
  }

 private:
  template <Sum K>
  static int32_t Value(uint8_t byte) {
    return K == Sum::kSigned || K == Sum::kSignedHalves ? static_cast<int8_t>(byte) : byte;
  }
  static uint32_t Bits(int32_t a) { return static_cast<uint32_t>(a); }
  static int32_t Wrap(uint32_t a) { return static_cast<int32_t>(a); }
};

}  // namespace weft::cpu
