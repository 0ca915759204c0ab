// bfloat16, binary16 and FP8 e4m3 as kernels see them: the same types on the host, under nvcc and
// in the emulator. Conversions round to nearest even and give the bits of the GPU's cvt
// instructions: a NaN becomes 0x7fff (bf16, half); e4m3 saturates at 448 (cvt.rn.satfinite), a NaN
// is 0x7f. Formats: IEEE 754-2008, OCP 8-bit floating point 1.0; PTX ISA 8.8, "cvt".
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#define WEFT_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define WEFT_HOST_DEVICE inline
#endif

namespace weft::gpu {

struct Bf16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};
struct E4m3 {
  uint8_t bits;
};

namespace number_internal {

WEFT_HOST_DEVICE uint32_t BitsOf(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}
WEFT_HOST_DEVICE float FloatOf(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

WEFT_HOST_DEVICE uint16_t Bf16Bits(float x) {
  const uint32_t bits = BitsOf(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

WEFT_HOST_DEVICE uint16_t HalfBits(float x) {
  const uint32_t bits = BitsOf(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return 0x7fff;
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // A subnormal result: adding 0.5 makes the addition round at 2^-24.
    const uint32_t rounded = BitsOf(FloatOf(magnitude) + 0.5f);
    return static_cast<uint16_t>(sign | (rounded - 0x3f000000u));
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

WEFT_HOST_DEVICE float HalfValue(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 0x1fu;
  const uint32_t mantissa = h & 0x3ffu;
  if (exponent == 0) {
    return FloatOf(BitsOf(static_cast<float>(mantissa) * 0x1p-24f) | sign);
  }
  if (exponent == 31) return FloatOf(sign | 0x7f800000u | (mantissa << 13));
  return FloatOf(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

WEFT_HOST_DEVICE uint8_t E4m3Bits(float x) {
  const uint32_t bits = BitsOf(x);
  const uint32_t sign = (bits >> 24) & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return 0x7f;
  // 464 is halfway between 448, the largest, and what would come next; it ties to even: 448.
  if (magnitude >= 0x43e80000u) return static_cast<uint8_t>(sign | 0x7eu);
  if (magnitude < 0x3c800000u) {
    // Below 2^-6: multiples of 2^-9. Adding 2^14 makes the addition round there.
    const uint32_t rounded = BitsOf(FloatOf(magnitude) + 0x1p14f);
    return static_cast<uint8_t>(sign | (rounded - 0x46800000u));
  }
  const uint32_t odd = (magnitude >> 20) & 1u;
  return static_cast<uint8_t>(sign | ((magnitude - (120u << 23) + 0x7ffffu + odd) >> 20));
}

WEFT_HOST_DEVICE float E4m3Value(uint8_t b) {
  const uint32_t sign = static_cast<uint32_t>(b & 0x80u) << 24;
  const uint32_t magnitude = b & 0x7fu;
  if (magnitude == 0x7fu) return FloatOf(0x7fffe000u);
  if (magnitude < 8) return FloatOf(BitsOf(static_cast<float>(magnitude) * 0x1p-9f) | sign);
  return FloatOf(sign | ((magnitude << 20) + (120u << 23)));
}

}  // namespace number_internal

WEFT_HOST_DEVICE float ToFloat(float x) { return x; }
WEFT_HOST_DEVICE float ToFloat(Bf16 x) {
  return number_internal::FloatOf(static_cast<uint32_t>(x.bits) << 16);
}
WEFT_HOST_DEVICE float ToFloat(Half x) {
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(x.bits));
#else
  return number_internal::HalfValue(x.bits);
#endif
}
WEFT_HOST_DEVICE float ToFloat(E4m3 x) {
#ifdef __CUDA_ARCH__
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(x.bits, __NV_E4M3)));
#else
  return number_internal::E4m3Value(x.bits);
#endif
}

// FromFloat<Bf16>(x): T is float, Bf16, Half or E4m3.
template <typename T>
WEFT_HOST_DEVICE T FromFloat(float x);
template <>
WEFT_HOST_DEVICE float FromFloat<float>(float x) {
  return x;
}
template <>
WEFT_HOST_DEVICE Bf16 FromFloat<Bf16>(float x) {
#ifdef __CUDA_ARCH__
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
  return {number_internal::Bf16Bits(x)};
#endif
}
template <>
WEFT_HOST_DEVICE Half FromFloat<Half>(float x) {
#ifdef __CUDA_ARCH__
  return {__half_as_ushort(__float2half_rn(x))};
#else
  return {number_internal::HalfBits(x)};
#endif
}
template <>
WEFT_HOST_DEVICE E4m3 FromFloat<E4m3>(float x) {
#ifdef __CUDA_ARCH__
  return {__nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3)};
#else
  return {number_internal::E4m3Bits(x)};
#endif
}

// Two 16-bit numbers in a register, `low` in the lower half: what mma fragments hold.
WEFT_HOST_DEVICE uint32_t PackBf16x2(float low, float high) {
#ifdef __CUDA_ARCH__
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &pair, 4);
  return bits;
#else
  return number_internal::Bf16Bits(low) | static_cast<uint32_t>(number_internal::Bf16Bits(high))
                                              << 16;
#endif
}
WEFT_HOST_DEVICE uint32_t PackHalfx2(float low, float high) {
#ifdef __CUDA_ARCH__
  const __half2 pair = __floats2half2_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &pair, 4);
  return bits;
#else
  return number_internal::HalfBits(low) | static_cast<uint32_t>(number_internal::HalfBits(high))
                                              << 16;
#endif
}
// Four e4m3 in a register, `a` in the lowest byte.
WEFT_HOST_DEVICE uint32_t PackE4m3x4(float a, float b, float c, float d) {
#ifdef __CUDA_ARCH__
  const uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
  const uint32_t high = __nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, __NV_E4M3);
  return low | high << 16;
#else
  return number_internal::E4m3Bits(a) | static_cast<uint32_t>(number_internal::E4m3Bits(b)) << 8 |
         static_cast<uint32_t>(number_internal::E4m3Bits(c)) << 16 |
         static_cast<uint32_t>(number_internal::E4m3Bits(d)) << 24;
#endif
}

}  // namespace weft::gpu
