// Plain types and the formats with blocks of 32, as ggml's reference rounds them.
#include "libs/quantize/quantizers.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "libs/tensor/half.h"

namespace weft {
namespace quantize_internal {

bool PutHalf(uint8_t* at, float value) {
  const uint16_t half = FloatToHalf(value);
  std::memcpy(at, &half, sizeof(half));
  return (half & 0x7c00u) != 0x7c00u;
}

namespace {

constexpr int kBlock = 32;

// 1 / d, and 0 for a block of zeros (or so near them that the inverse overflows).
float Inverse(float d) {
  const float inverse = d == 0 ? 0.0f : 1.0f / d;
  return std::isfinite(inverse) ? inverse : 0.0f;
}

// The value of the largest magnitude, with its sign; the first one of several.
float Extreme(const float* src) {
  float extreme = src[0];
  for (int i = 1; i < kBlock; ++i) {
    if (std::fabs(src[i]) > std::fabs(extreme)) extreme = src[i];
  }
  return extreme;
}

void PackNibbles(const uint8_t* codes, uint8_t* out) {
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<uint8_t>((codes[i] & 15) | ((codes[i + 16] & 15) << 4));
  }
}

void PackFifthBits(const uint8_t* codes, uint8_t* out) {
  uint32_t bits = 0;
  for (int i = 0; i < kBlock; ++i) bits |= static_cast<uint32_t>(codes[i] >> 4) << i;
  std::memcpy(out, &bits, sizeof(bits));
}

// Codes 0 .. 2^bits - 1 around the middle; the extreme value gets code 0.
float SymmetricCodes(const float* src, int bits, uint8_t* codes) {
  const int half = 1 << (bits - 1);
  const float d = Extreme(src) / static_cast<float>(-half);
  const float inverse = Inverse(d);
  for (int i = 0; i < kBlock; ++i) {
    const float shifted = src[i] * inverse + (static_cast<float>(half) + 0.5f);
    codes[i] = static_cast<uint8_t>(std::min(static_cast<int>(shifted), 2 * half - 1));
  }
  return d;
}

// Codes 0 .. 2^bits - 1 from the least value to the largest.
float AffineCodes(const float* src, int bits, uint8_t* codes, float& least) {
  const int most = (1 << bits) - 1;
  const auto [low, high] = std::minmax_element(src, src + kBlock);
  least = *low;
  const float d = (*high - *low) / static_cast<float>(most);
  const float inverse = Inverse(d);
  for (int i = 0; i < kBlock; ++i) {
    const float shifted = (src[i] - least) * inverse + 0.5f;
    codes[i] = static_cast<uint8_t>(std::min(static_cast<int>(shifted), most));
  }
  return d;
}

bool QuantizeBlockQ4_0(const float* src, uint8_t* out) {
  uint8_t codes[kBlock];
  const float d = SymmetricCodes(src, 4, codes);
  PackNibbles(codes, out + 2);
  return PutHalf(out, d);
}

bool QuantizeBlockQ4_1(const float* src, uint8_t* out) {
  uint8_t codes[kBlock];
  float least = 0;
  const float d = AffineCodes(src, 4, codes, least);
  PackNibbles(codes, out + 4);
  return PutHalf(out, d) && PutHalf(out + 2, least);
}

bool QuantizeBlockQ5_0(const float* src, uint8_t* out) {
  uint8_t codes[kBlock];
  const float d = SymmetricCodes(src, 5, codes);
  PackFifthBits(codes, out + 2);
  PackNibbles(codes, out + 6);
  return PutHalf(out, d);
}

bool QuantizeBlockQ5_1(const float* src, uint8_t* out) {
  uint8_t codes[kBlock];
  float least = 0;
  const float d = AffineCodes(src, 5, codes, least);
  PackFifthBits(codes, out + 4);
  PackNibbles(codes, out + 8);
  return PutHalf(out, d) && PutHalf(out + 2, least);
}

bool QuantizeBlockQ8_0(const float* src, uint8_t* out) {
  const float d = std::fabs(Extreme(src)) / 127.0f;
  const float inverse = Inverse(d);
  for (int i = 0; i < kBlock; ++i) {
    // Halves go away from zero.
    out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::round(src[i] * inverse)));
  }
  return PutHalf(out, d);
}

bool QuantizeF32(const float* src, uint8_t* out) {
  std::memcpy(out, src, sizeof(float));
  return true;
}

bool QuantizeF16(const float* src, uint8_t* out) { return PutHalf(out, *src); }

bool QuantizeBf16(const float* src, uint8_t* out) {
  const auto bits = std::bit_cast<uint32_t>(*src);
  const auto rounded = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  std::memcpy(out, &rounded, sizeof(rounded));
  return (rounded & 0x7f80u) != 0x7f80u;
}

struct Entry {
  DType type;
  BlockQuantizer quantize;
};
constexpr Entry kQuantizers[] = {
    {DType::kF32, QuantizeF32},        {DType::kF16, QuantizeF16},
    {DType::kBF16, QuantizeBf16},      {DType::kQ4_0, QuantizeBlockQ4_0},
    {DType::kQ4_1, QuantizeBlockQ4_1}, {DType::kQ5_0, QuantizeBlockQ5_0},
    {DType::kQ5_1, QuantizeBlockQ5_1}, {DType::kQ8_0, QuantizeBlockQ8_0},
    {DType::kQ4_K, QuantizeBlockQ4_K}, {DType::kQ5_K, QuantizeBlockQ5_K},
    {DType::kQ6_K, QuantizeBlockQ6_K},
};

BlockQuantizer Find(DType type) {
  for (const Entry& entry : kQuantizers) {
    if (entry.type == type) return entry.quantize;
  }
  return nullptr;
}

}  // namespace
}  // namespace quantize_internal

bool CanQuantize(DType type) { return quantize_internal::Find(type) != nullptr; }

bool Quantize(DType type, const float* src, int64_t elements, uint8_t* out) {
  const quantize_internal::BlockQuantizer quantize = quantize_internal::Find(type);
  if (quantize == nullptr) return false;
  const int64_t block = BlockSize(type);
  const int64_t bytes = BlockBytes(type);
  // What is larger no half scale can stand for; it need not be tried, and squares stay finite.
  const float most = block == 1 ? std::numeric_limits<float>::max() : 1e9f;
  for (int64_t i = 0; i < elements; ++i) {
    if (!(std::fabs(src[i]) <= most)) return false;
  }
  for (int64_t b = 0; b < elements / block; ++b) {
    if (!quantize(src + b * block, out + b * bytes)) return false;
  }
  return true;
}

}  // namespace weft
