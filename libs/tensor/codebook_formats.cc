// Formats whose nibbles index a table of unevenly spaced codes.
#include <bit>
#include <iterator>

#include "libs/tensor/block_formats.h"
#include "libs/tensor/half.h"

namespace weft::tensor_internal {
namespace {

// Of IQ4_NL and IQ4_XS: denser near zero, as weights are.
constexpr int8_t kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};
// Of MXFP4: twice the values of E2M1 (1 sign, 2 exponent, 1 mantissa bits), so that all are whole.
constexpr int8_t kTwiceE2M1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void LookUp(const uint8_t* nibbles, const int8_t* table, int8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = table[nibbles[i] & 15];
    codes[i + 16] = table[nibbles[i] >> 4];
  }
}

struct IQ4_NL {
  static constexpr DType kType = DType::kIQ4_NL;
  static constexpr int32_t kBlock = 32;
  static constexpr int32_t kBytes = 18;
  static constexpr int32_t kGroup = 32;
  static constexpr bool kHasOffsets = false;
  static void Decode(const uint8_t* src, DecodedBlock& out) {
    out.scales[0] = HalfToFloat(Load16(src));
    LookUp(src + 2, kNonLinear, out.codes);
  }
};

// d, 16 bits of high scale pairs, 4 bytes of low scale nibbles, 8 blocks of 16 bytes.
struct IQ4_XS {
  static constexpr DType kType = DType::kIQ4_XS;
  static constexpr int32_t kBlock = 256;
  static constexpr int32_t kBytes = 136;
  static constexpr int32_t kGroup = 32;
  static constexpr bool kHasOffsets = false;
  static void Decode(const uint8_t* src, DecodedBlock& out) {
    const float d = HalfToFloat(Load16(src));
    const int high = Load16(src + 2);
    for (int g = 0; g < 8; ++g) {
      const int low = (src[4 + g / 2] >> (4 * (g % 2))) & 15;
      out.scales[g] = d * static_cast<float>((low | (((high >> (2 * g)) & 3) << 4)) - 32);
      LookUp(src + 8 + 16 * g, kNonLinear, out.codes + 32 * g);
    }
  }
};

// A power of two as a biased exponent (E8M0), 32 nibbles. The scale is half of it, 2^(e - 128),
// because the codes are doubled; for e < 2 that is a subnormal.
struct MXFP4 {
  static constexpr DType kType = DType::kMXFP4;
  static constexpr int32_t kBlock = 32;
  static constexpr int32_t kBytes = 17;
  static constexpr int32_t kGroup = 32;
  static constexpr bool kHasOffsets = false;
  static void Decode(const uint8_t* src, DecodedBlock& out) {
    const uint32_t e = src[0];
    out.scales[0] = std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
    LookUp(src + 1, kTwiceE2M1, out.codes);
  }
};

constexpr BlockFormat kFormats[] = {Describe<IQ4_NL>(), Describe<IQ4_XS>(), Describe<MXFP4>()};

}  // namespace

BlockFormats CodebookFormats() { return {std::begin(kFormats), std::end(kFormats)}; }

}  // namespace weft::tensor_internal
