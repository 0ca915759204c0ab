// Q4_0 Q4_1 Q5_0 Q5_1 Q8_0: blocks of 32 with one half scale and, in the _1 forms, a half offset.
// Element i and element i + 16 share a byte: low and high nibble.
#include <iterator>

#include "libs/tensor/block_formats.h"
#include "libs/tensor/half.h"

namespace weft::tensor_internal {
namespace {

void DecodeNibbles(const uint8_t* src, int bias, int8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<int8_t>((src[i] & 15) - bias);
    codes[i + 16] = static_cast<int8_t>((src[i] >> 4) - bias);
  }
}

// The fifth bit of element i is bit i of a 32-bit word.
void DecodeFiveBits(const uint8_t* high, const uint8_t* low, int bias, int8_t* codes) {
  uint32_t bits;
  std::memcpy(&bits, high, sizeof(bits));
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<int8_t>(((low[i] & 15) | (((bits >> i) & 1) << 4)) - bias);
    codes[i + 16] = static_cast<int8_t>(((low[i] >> 4) | (((bits >> (i + 16)) & 1) << 4)) - bias);
  }
}

struct Block32 {
  static constexpr int32_t kBlock = 32;
  static constexpr int32_t kGroup = 32;
};

// A half scale, a half offset in the _1 forms, the fifth bits where there are five, 16 bytes of
// nibbles. Without an offset, codes lie around zero.
template <DType Type, bool kFive, bool kOffset>
struct Nibbles : Block32 {
  static constexpr DType kType = Type;
  static constexpr bool kHasOffsets = kOffset;
  static constexpr int32_t kHead = kOffset ? 4 : 2;
  static constexpr int32_t kBytes = kHead + (kFive ? 4 : 0) + 16;
  static constexpr int kBias = kOffset ? 0 : kFive ? 16 : 8;
  static void Decode(const uint8_t* src, DecodedBlock& out) {
    out.scales[0] = HalfToFloat(Load16(src));
    if constexpr (kOffset) out.offsets[0] = HalfToFloat(Load16(src + 2));
    if constexpr (kFive) {
      DecodeFiveBits(src + kHead, src + kHead + 4, kBias, out.codes);
    } else {
      DecodeNibbles(src + kHead, kBias, out.codes);
    }
  }
};
using Q4_0 = Nibbles<DType::kQ4_0, false, false>;
using Q4_1 = Nibbles<DType::kQ4_1, false, true>;
using Q5_0 = Nibbles<DType::kQ5_0, true, false>;
using Q5_1 = Nibbles<DType::kQ5_1, true, true>;

struct Q8_0 : Block32 {
  static constexpr DType kType = DType::kQ8_0;
  static constexpr int32_t kBytes = 34;
  static constexpr bool kHasOffsets = false;
  static void Decode(const uint8_t* src, DecodedBlock& out) {
    out.scales[0] = HalfToFloat(Load16(src));
    std::memcpy(out.codes, src + 2, 32);
  }
};

constexpr BlockFormat kFormats[] = {Describe<Q4_0>(), Describe<Q4_1>(), Describe<Q5_0>(),
                                    Describe<Q5_1>(), Describe<Q8_0>()};

}  // namespace

BlockFormats SimpleFormats() { return {std::begin(kFormats), std::end(kFormats)}; }

}  // namespace weft::tensor_internal
