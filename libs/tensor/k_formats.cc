// The K formats: super-blocks of 256 with half scales for the whole and small integer scales for
// groups of 16 or 32. Elements lie in rows of 32 that share bytes: row r of a byte's rows is in its
// r-th bit field.
#include <iterator>

#include "libs/tensor/block_formats.h"
#include "libs/tensor/half.h"

namespace weft::tensor_internal {
namespace {

struct Block256 {
  static constexpr int32_t kBlock = 256;
};

// 16 bytes of scales and offsets (4 bits each, per 16), 64 bytes of bit pairs, d, dmin.
struct Q2_K : Block256 {
  static constexpr DType kType = DType::kQ2_K;
  static constexpr int32_t kBytes = 84;
  static constexpr int32_t kGroup = 16;
  static constexpr bool kHasOffsets = true;
  static void Decode(const uint8_t* src, DecodedBlock& out) {
    const float d = HalfToFloat(Load16(src + 80));
    const float dmin = HalfToFloat(Load16(src + 82));
    for (int g = 0; g < 16; ++g) {
      out.scales[g] = d * static_cast<float>(src[g] & 15);
      out.offsets[g] = -(dmin * static_cast<float>(src[g] >> 4));
    }
    for (int row = 0; row < 8; ++row) {
      const uint8_t* pairs = src + 16 + 32 * (row / 4);
      for (int i = 0; i < 32; ++i) {
        out.codes[32 * row + i] = static_cast<int8_t>((pairs[i] >> (2 * (row % 4))) & 3);
      }
    }
  }
};

// 32 bytes of inverted third bits, 64 bytes of bit pairs, 12 bytes of 6-bit scales per 16, d.
struct Q3_K : Block256 {
  static constexpr DType kType = DType::kQ3_K;
  static constexpr int32_t kBytes = 110;
  static constexpr int32_t kGroup = 16;
  static constexpr bool kHasOffsets = false;
  static void Decode(const uint8_t* src, DecodedBlock& out) {
    const float d = HalfToFloat(Load16(src + 108));
    const uint8_t* packed = src + 96;
    for (int g = 0; g < 16; ++g) {
      const int low = (packed[g % 8] >> (4 * (g / 8))) & 15;
      const int high = (packed[8 + g % 4] >> (2 * (g / 4))) & 3;
      out.scales[g] = d * static_cast<float>((low | (high << 4)) - 32);
    }
    for (int row = 0; row < 8; ++row) {
      const uint8_t* pairs = src + 32 + 32 * (row / 4);
      for (int i = 0; i < 32; ++i) {
        const int low = (pairs[i] >> (2 * (row % 4))) & 3;
        const int high = (src[i] >> row) & 1;
        out.codes[32 * row + i] = static_cast<int8_t>(low - 4 * (1 - high));
      }
    }
  }
};

// Eight 6-bit scales and offsets in 12 bytes: those of groups 0..3 in the low six bits of bytes
// 0..3 and 4..7, those of groups 4..7 as nibbles in bytes 8..11 with their high pairs on top of the
// former.
void DecodeSixBitScales(const uint8_t* d_dmin, const uint8_t* packed, DecodedBlock& out) {
  const float d = HalfToFloat(Load16(d_dmin));
  const float dmin = HalfToFloat(Load16(d_dmin + 2));
  for (int g = 0; g < 4; ++g) {
    const int scale = packed[8 + g] & 15;
    const int offset = packed[8 + g] >> 4;
    out.scales[g] = d * static_cast<float>(packed[g] & 63);
    out.offsets[g] = -(dmin * static_cast<float>(packed[4 + g] & 63));
    out.scales[4 + g] = d * static_cast<float>(scale | ((packed[g] >> 6) << 4));
    out.offsets[4 + g] = -(dmin * static_cast<float>(offset | ((packed[4 + g] >> 6) << 4)));
  }
}

// d, dmin, 12 bytes of scales, 32 bytes of fifth bits where there are five, 128 bytes of nibbles.
template <DType Type, bool kFive>
struct AffineK : Block256 {
  static constexpr DType kType = Type;
  static constexpr int32_t kNibbles = kFive ? 48 : 16;
  static constexpr int32_t kBytes = kNibbles + 128;
  static constexpr int32_t kGroup = 32;
  static constexpr bool kHasOffsets = true;
  static void Decode(const uint8_t* src, DecodedBlock& out) {
    DecodeSixBitScales(src, src + 4, out);
    for (int row = 0; row < 8; ++row) {
      const uint8_t* nibbles = src + kNibbles + 32 * (row / 2);
      for (int i = 0; i < 32; ++i) {
        const int low = (nibbles[i] >> (4 * (row % 2))) & 15;
        const int high = kFive ? (src[16 + i] >> row) & 1 : 0;
        out.codes[32 * row + i] = static_cast<int8_t>(low | (high << 4));
      }
    }
  }
};
using Q4_K = AffineK<DType::kQ4_K, false>;
using Q5_K = AffineK<DType::kQ5_K, true>;

// 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 int8 scales (one per 16), d. Each half
// of 128 elements is stored in four rows.
struct Q6_K : Block256 {
  static constexpr DType kType = DType::kQ6_K;
  static constexpr int32_t kBytes = 210;
  static constexpr int32_t kGroup = 16;
  static constexpr bool kHasOffsets = false;
  static void Decode(const uint8_t* src, DecodedBlock& out) {
    const float d = HalfToFloat(Load16(src + 208));
    for (int g = 0; g < 16; ++g) {
      out.scales[g] = d * static_cast<float>(static_cast<int8_t>(src[192 + g]));
    }
    for (int row = 0; row < 8; ++row) {
      const int half = row / 4;
      const uint8_t* nibbles = src + 64 * half + 32 * (row % 2);
      const uint8_t* pairs = src + 128 + 32 * half;
      for (int i = 0; i < 32; ++i) {
        const int low = (nibbles[i] >> (row % 4 < 2 ? 0 : 4)) & 15;
        const int high = (pairs[i] >> (2 * (row % 4))) & 3;
        out.codes[32 * row + i] = static_cast<int8_t>((low | (high << 4)) - 32);
      }
    }
  }
};

constexpr BlockFormat kFormats[] = {Describe<Q2_K>(), Describe<Q3_K>(), Describe<Q4_K>(),
                                    Describe<Q5_K>(), Describe<Q6_K>()};

}  // namespace

BlockFormats KFormats() { return {std::begin(kFormats), std::end(kFormats)}; }

}  // namespace weft::tensor_internal
