// CUDA's vector types, with its names, sizes and alignments (CUDA C++ Programming Guide,
// "Built-in Vector Types").
#pragma once

#include <cstdint>

namespace weft::gpu {

struct dim3 {
  uint32_t x = 1, y = 1, z = 1;
  constexpr dim3(uint32_t a = 1, uint32_t b = 1, uint32_t c = 1)  // NOLINT(google-explicit-*)
      : x(a), y(b), z(c) {}
};
struct uint3 {
  uint32_t x, y, z;
};

#define WEFT_VECTOR_TYPES(T, name)                              \
  struct alignas(2 * sizeof(T)) name##2 {                       \
    T x, y;                                                     \
  };                                                            \
  struct alignas(4 * sizeof(T)) name##4 {                       \
    T x, y, z, w;                                               \
  };                                                            \
  constexpr name##2 make_##name##2(T x, T y) { return {x, y}; } \
  constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

WEFT_VECTOR_TYPES(float, float)
WEFT_VECTOR_TYPES(int32_t, int)
WEFT_VECTOR_TYPES(uint32_t, uint)
WEFT_VECTOR_TYPES(int16_t, short)
WEFT_VECTOR_TYPES(uint16_t, ushort)
WEFT_VECTOR_TYPES(int8_t, char)
WEFT_VECTOR_TYPES(uint8_t, uchar)
#undef WEFT_VECTOR_TYPES

}  // namespace weft::gpu
