// Elements of the KV cache as the kernels read and write them: one struct for each KvElement.
// Included only by kernels_*.cc.
#pragma once

#include <cstdint>
#include <cstring>

#include "libs/ops/kernels.h"

namespace weft::cpu {

inline constexpr int kScaleGroup = 32;  // kKvGroup of kv_page.h

template <typename S>
struct HalfKv {
  using F = typename S::F;
  using Element = uint16_t;
  static constexpr bool kScaled = false;

  static F Load(const Element* p) { return S::LoadHalf(p); }
  // One token's head: x [dim] to `elements`, which is contiguous.
  static void Store(const float* x, int32_t dim, Element* elements, uint16_t*, int64_t) {
    for (int32_t i = 0; i < dim; i += 16) S::StoreHalf(elements + i, S::Load(x + i));
  }
};

template <typename S>
struct BfloatKv {
  using F = typename S::F;
  using Element = uint16_t;
  static constexpr bool kScaled = false;

  static F Load(const Element* p) { return S::LoadBf16(p); }
  // To nearest, ties to even.
  static void Store(const float* x, int32_t dim, Element* elements, uint16_t*, int64_t) {
    for (int32_t i = 0; i < dim; ++i) {
      uint32_t bits;
      std::memcpy(&bits, x + i, 4);
      const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
      const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
      elements[i] = static_cast<Element>(nan ? (bits >> 16) | 0x40u : rounded);
    }
  }
};

// A group's scale is its largest magnitude / 127, rounded to a half; the codes are made for the
// rounded scale. Whatever comes in, what is stored is finite.
template <typename S>
struct ScaledByteKv {
  using F = typename S::F;
  using Element = uint8_t;
  static constexpr bool kScaled = true;

  // Codes, without their scale.
  static F Load(const Element* p) { return S::LoadSignedBytes(p); }
  // The scale of group g to scales[g * stride].
  static void Store(const float* x, int32_t dim, Element* elements, uint16_t* scales,
                    int64_t stride) {
    const F magic = S::Set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    for (int32_t first = 0; first < dim; first += kScaleGroup, scales += stride) {
      const int32_t end = first + kScaleGroup < dim ? first + kScaleGroup : dim;
      F most = S::Set1(0.0f);
      for (int32_t i = first; i < end; i += 16) most = S::Max(most, S::Abs(S::Load(x + i)));
      const float wanted = S::ReduceMax(most) / 127.0f;
      uint16_t halves[16];
      S::StoreHalf(halves, S::Set1(wanted < 65504.0f ? wanted : 65504.0f));
      float stored[16];
      S::Store(stored, S::LoadHalf(halves));
      *scales = halves[0];
      const F inverse = S::Set1(stored[0] > 0.0f ? 1.0f / stored[0] : 0.0f);
      for (int32_t i = first; i < end; i += 16) {
        F code = S::Mul(S::Load(x + i), inverse);
        code = S::Min(S::Max(code, S::Set1(-127.0f)), S::Set1(127.0f));
        const auto bits = S::AsInt(S::Add(code, magic));
        S::StoreBytes(reinterpret_cast<int8_t*>(elements + i), S::IntSub(bits, S::AsInt(magic)));
      }
    }
  }
};

}  // namespace weft::cpu
