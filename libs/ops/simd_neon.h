// 16 lanes as four NEON registers. Included only by kernels_neon*.cc. `Level` keeps the functions
// of one file apart from another's: they are compiled with different options.
#pragma once

#include <arm_neon.h>

#include <algorithm>
#include <cstdint>

#include "libs/ops/quant_tiles.h"

namespace weft::cpu {

template <typename Level>
struct SimdNeon {
  struct F {
    float32x4_t a, b, c, d;
  };
  struct I {
    int32x4_t a, b, c, d;
  };
  // Of 32 registers: four rows keep 16 as sums of a product with floats; six queries keep 24.
  static constexpr int kMatmulRows = 4;
  static constexpr int kQueries = 6;
  static constexpr int kScoreStrips = 1;  // strips of 16 lanes per pass

  static F Load(const float* p) {
    return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
  }
  static void Store(float* p, F x) {
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
  }
  static F Set1(float x) {
    const float32x4_t all = vdupq_n_f32(x);
    return {all, all, all, all};
  }
  static F Add(F x, F y) {
    return {vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b), vaddq_f32(x.c, y.c), vaddq_f32(x.d, y.d)};
  }
  static F Sub(F x, F y) {
    return {vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b), vsubq_f32(x.c, y.c), vsubq_f32(x.d, y.d)};
  }
  static F Mul(F x, F y) {
    return {vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b), vmulq_f32(x.c, y.c), vmulq_f32(x.d, y.d)};
  }
  static F Div(F x, F y) {
    return {vdivq_f32(x.a, y.a), vdivq_f32(x.b, y.b), vdivq_f32(x.c, y.c), vdivq_f32(x.d, y.d)};
  }
  static F Fma(F x, F y, F z) {
    return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c),
            vfmaq_f32(z.d, x.d, y.d)};
  }
  // x > y ? x : y, so y when either is not a number; FMAX would give the number's absence.
  static F Max(F x, F y) {
    return {Larger(x.a, y.a), Larger(x.b, y.b), Larger(x.c, y.c), Larger(x.d, y.d)};
  }
  static F Min(F x, F y) {
    return {Smaller(x.a, y.a), Smaller(x.b, y.b), Smaller(x.c, y.c), Smaller(x.d, y.d)};
  }
  static F Abs(F x) { return {vabsq_f32(x.a), vabsq_f32(x.b), vabsq_f32(x.c), vabsq_f32(x.d)}; }

  static I IntSet1(int32_t x) {
    const int32x4_t all = vdupq_n_s32(x);
    return {all, all, all, all};
  }
  static I IntAdd(I x, I y) {
    return {vaddq_s32(x.a, y.a), vaddq_s32(x.b, y.b), vaddq_s32(x.c, y.c), vaddq_s32(x.d, y.d)};
  }
  static I IntSub(I x, I y) {
    return {vsubq_s32(x.a, y.a), vsubq_s32(x.b, y.b), vsubq_s32(x.c, y.c), vsubq_s32(x.d, y.d)};
  }
  static I ShiftToExponent(I x) {
    return {vshlq_n_s32(x.a, 23), vshlq_n_s32(x.b, 23), vshlq_n_s32(x.c, 23), vshlq_n_s32(x.d, 23)};
  }
  static I AsInt(F x) {
    return {vreinterpretq_s32_f32(x.a), vreinterpretq_s32_f32(x.b), vreinterpretq_s32_f32(x.c),
            vreinterpretq_s32_f32(x.d)};
  }
  static F AsFloat(I x) {
    return {vreinterpretq_f32_s32(x.a), vreinterpretq_f32_s32(x.b), vreinterpretq_f32_s32(x.c),
            vreinterpretq_f32_s32(x.d)};
  }
  static F ToFloat(I x) {
    return {vcvtq_f32_s32(x.a), vcvtq_f32_s32(x.b), vcvtq_f32_s32(x.c), vcvtq_f32_s32(x.d)};
  }
  // The low byte of each lane.
  static void StoreBytes(int8_t* p, I x) {
    const int16x8_t low = vcombine_s16(vmovn_s32(x.a), vmovn_s32(x.b));
    const int16x8_t high = vcombine_s16(vmovn_s32(x.c), vmovn_s32(x.d));
    vst1q_s8(p, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
  }

  static F LoadHalf(const uint16_t* p) {
    const float16x8_t low = vreinterpretq_f16_u16(vld1q_u16(p));
    const float16x8_t high = vreinterpretq_f16_u16(vld1q_u16(p + 8));
    return {vcvt_f32_f16(vget_low_f16(low)), vcvt_high_f32_f16(low),
            vcvt_f32_f16(vget_low_f16(high)), vcvt_high_f32_f16(high)};
  }
  static void StoreHalf(uint16_t* p, F x) {
    vst1q_u16(p, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.a), x.b)));
    vst1q_u16(p + 8, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.c), x.d)));
  }
  static F LoadBf16(const uint16_t* p) {
    const uint16x8_t low = vld1q_u16(p);
    const uint16x8_t high = vld1q_u16(p + 8);
    return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(low), 16)),
            vreinterpretq_f32_u32(vshll_high_n_u16(low, 16)),
            vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(high), 16)),
            vreinterpretq_f32_u32(vshll_high_n_u16(high, 16))};
  }

  // The first n lanes of x, the others of y.
  static F FirstLanes(int n, F x, F y) {
    const int32_t numbers[4] = {0, 1, 2, 3};
    const int32x4_t lanes = vld1q_s32(numbers);
    const auto choose = [&](int first, float32x4_t low, float32x4_t high) {
      return vbslq_f32(vcltq_s32(lanes, vdupq_n_s32(n - first)), low, high);
    };
    return {choose(0, x.a, y.a), choose(4, x.b, y.b), choose(8, x.c, y.c), choose(12, x.d, y.d)};
  }
  static F LoadFirst(const float* p, int n) {
    if (n == 16) return Load(p);
    float lanes[16] = {};
    std::copy_n(p, n, lanes);
    return Load(lanes);
  }
  static void StoreFirst(float* p, F x, int n) {
    if (n == 16) return Store(p, x);
    float lanes[16];
    Store(lanes, x);
    std::copy_n(lanes, n, p);
  }

  static float ReduceAdd(F x) {
    const float32x4_t four = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
  }
  static float ReduceMax(F x) {
    const float32x4_t four = Larger(Larger(x.a, x.c), Larger(x.b, x.d));
    const float32x2_t low = vget_low_f32(four);
    const float32x2_t high = vget_high_f32(four);
    const float32x2_t two = vbsl_f32(vcgt_f32(low, high), low, high);
    const float first = vget_lane_f32(two, 0);
    const float second = vget_lane_f32(two, 1);
    return first > second ? first : second;
  }

  // 16 bytes as floats.
  static F LoadUnsigned(const uint8_t* p) {
    const uint8x16_t bytes = vld1q_u8(p);
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes));
    const uint16x8_t high = vmovl_high_u8(bytes);
    return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_high_u16(low)),
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_high_u16(high))};
  }
  static F LoadSignedBytes(const uint8_t* p) {
    const int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(p));
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes));
    const int16x8_t high = vmovl_high_s8(bytes);
    return ToFloat({vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low),
                    vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)});
  }

  // 16 outputs x 4 inputs (quant_tiles.h): outputs 0 to 3 in the first register. Weights without a
  // sign have at most 6 bits, so that they too are signed bytes.
  struct Vector {
    int8x16_t v[4];
  };
  struct Pair {
    Vector low, high;
  };
  static Pair LoadNibbles(const uint8_t* p) {
    Pair w;
    for (int i = 0; i < 4; ++i) {
      const uint8x16_t packed = vld1q_u8(p + 16 * i);
      w.low.v[i] = vreinterpretq_s8_u8(vandq_u8(packed, vdupq_n_u8(15)));
      w.high.v[i] = vreinterpretq_s8_u8(vshrq_n_u8(packed, 4));
    }
    return w;
  }
  static Pair LoadSigned(const uint8_t* low, const uint8_t* high) {
    Pair w;
    for (int i = 0; i < 4; ++i) {
      w.low.v[i] = vreinterpretq_s8_u8(vld1q_u8(low + 16 * i));
      w.high.v[i] = vreinterpretq_s8_u8(vld1q_u8(high + 16 * i));
    }
    return w;
  }
  // Bit j of the plane belongs to the low vector, bit 4 + j to the high one.
  static Pair AddFifthBit(Pair w, const uint8_t* plane, int j) {
    for (int i = 0; i < 4; ++i) {
      const uint8x16_t bits = vld1q_u8(plane + 16 * i);
      w.low.v[i] = OrMasked(w.low.v[i], Shifted(bits, 4 - j), 0x10);
      w.high.v[i] = OrMasked(w.high.v[i], Shifted(bits, -j), 0x10);
    }
    return w;
  }
  // Bits 2j and 2j + 1 of the first plane belong to the low vector, of the second to the high one.
  static Pair AddTwoBits(Pair w, const uint8_t* planes, int j) {
    for (int i = 0; i < 4; ++i) {
      w.low.v[i] = OrMasked(w.low.v[i], Shifted(vld1q_u8(planes + 16 * i), 4 - 2 * j), 0x30);
      w.high.v[i] = OrMasked(w.high.v[i], Shifted(vld1q_u8(planes + 64 + 16 * i), 4 - 2 * j), 0x30);
    }
    return w;
  }

 private:
  static float32x4_t Larger(float32x4_t x, float32x4_t y) {
    return vbslq_f32(vcgtq_f32(x, y), x, y);
  }
  static float32x4_t Smaller(float32x4_t x, float32x4_t y) {
    return vbslq_f32(vcltq_f32(x, y), x, y);
  }
  // To the left; to the right where negative. What leaves the byte is gone, what is not wanted of
  // the rest is masked away after. `left` is a constant where this is inlined, instructions want it
  // to be one in the source.
  static uint8x16_t Shifted(uint8x16_t x, int left) {
    switch (left) {
      case 4:
        return vshlq_n_u8(x, 4);
      case 3:
        return vshlq_n_u8(x, 3);
      case 2:
        return vshlq_n_u8(x, 2);
      case 1:
        return vshlq_n_u8(x, 1);
      case -1:
        return vshrq_n_u8(x, 1);
      case -2:
        return vshrq_n_u8(x, 2);
      case -3:
        return vshrq_n_u8(x, 3);
      default:
        return x;
    }
  }
  static int8x16_t OrMasked(int8x16_t x, uint8x16_t y, uint8_t mask) {
    return vorrq_s8(x, vreinterpretq_s8_u8(vandq_u8(y, vdupq_n_u8(mask))));
  }
};

}  // namespace weft::cpu
