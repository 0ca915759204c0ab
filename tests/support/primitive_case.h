// One case of primitive_cases.h: a small kernel for a primitive of libs/device/ptx.h, its input,
// and what the documented layouts make of it, computed plainly on the host. All sums are of small
// integers, exact in any order, so results are compared as bits.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "libs/device/ptx.h"

namespace weft::gpu {

struct PrimitiveParams {
  GlobalPtr<const uint32_t> in;
  GlobalPtr<uint32_t> out;
  TensorMap map;        // of `in`, for cases that have a map
  TensorMap store_map;  // of `out`
};

// A tensor of the whole input (and of the output, the same) for the TMA cases.
struct PrimitiveCase {
  const char* name;
  void (*kernel)(PrimitiveParams);
  uint32_t threads;
  uint32_t shared_bytes;
  uint32_t in_words;
  uint32_t out_words;
  std::vector<uint32_t> (*make_input)(uint32_t words);
  std::vector<uint32_t> (*expect)(const std::vector<uint32_t>& in);
  bool has_map;
  TensorMapShape map;
};

namespace primitive {

inline uint32_t Random(uint32_t i) {
  uint32_t x = i * 0x9e3779b9u + 0x7f4a7c15u;
  x ^= x >> 16;
  x *= 0x85ebca6bu;
  x ^= x >> 13;
  x *= 0xc2b2ae35u;
  return x ^ x >> 16;
}
inline int Small(uint32_t i) { return static_cast<int>(Random(i) % 9) - 4; }  // -4 to 4

inline std::vector<uint32_t> RandomWords(uint32_t words) {
  std::vector<uint32_t> v(words);
  for (uint32_t i = 0; i < words; ++i) v[i] = Random(i);
  return v;
}
template <typename T>
std::vector<uint32_t> SmallNumbers(uint32_t words) {
  std::vector<uint32_t> v(words);
  const uint32_t per_word = 4 / sizeof(T);
  for (uint32_t i = 0; i < words * per_word; ++i) {
    T x{};
    if constexpr (std::is_same_v<T, int8_t>) {
      x = static_cast<T>(Small(i));
    } else {
      x = FromFloat<T>(static_cast<float>(Small(i)));
    }
    memcpy(reinterpret_cast<char*>(v.data()) + i * sizeof(T), &x, sizeof(T));
  }
  return v;
}
template <typename T>
double Number(const std::vector<uint32_t>& v, size_t i) {
  T x;
  memcpy(&x, reinterpret_cast<const char*>(v.data()) + i * sizeof(T), sizeof(T));
  if constexpr (std::is_same_v<T, int8_t>) {
    return x;
  } else {
    return ToFloat(x);
  }
}
template <typename T>
uint32_t SumBits(double sum) {
  if constexpr (std::is_same_v<T, int8_t>) {
    return static_cast<uint32_t>(static_cast<int32_t>(sum));
  } else {
    return number_internal::BitsOf(static_cast<float>(sum));
  }
}
WEFT_DEVICE uint32_t Bits(float x) { return __float_as_uint(x); }
WEFT_DEVICE uint32_t Bits(int32_t x) { return static_cast<uint32_t>(x); }
WEFT_DEVICE uint32_t LaneId() { return threadIdx.x % 32; }

}  // namespace primitive
}  // namespace weft::gpu
