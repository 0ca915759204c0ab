#include "libs/tensor/dtype.h"

#include <cstring>
#include <limits>
#include <vector>

#include "libs/tensor/half.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

void PutHalf(uint8_t* at, float value) {
  const uint16_t half = FloatToHalf(value);
  std::memcpy(at, &half, 2);
}

TEST_CASE("Types are known by GGUF number and name", "[tensor]") {
  REQUIRE(DTypeFromGguf(3) == DType::kQ4_1);
  REQUIRE(Name(DType::kQ6_K) == "Q6_K");
  REQUIRE_FALSE(DTypeFromGguf(4).has_value());  // removed from GGUF
  REQUIRE_FALSE(DTypeFromGguf(4000000000u).has_value());
  REQUIRE(Name(static_cast<DType>(77)) == "unknown");
  REQUIRE_FALSE(DTypeFromGguf(1001).has_value());  // ours, of no GGUF file
  REQUIRE(IsSupported(DType::kQ4_K));
  REQUIRE_FALSE(IsSupported(DType::kIQ2_XS));
  REQUIRE(SupportedTypeNames().find("Q5_K Q6_K IQ4_NL") != std::string::npos);
}

TEST_CASE("BytesFor refuses partial blocks and counts that overflow", "[tensor]") {
  REQUIRE(BytesFor(DType::kQ4_1, 64) == 40u);
  REQUIRE_FALSE(BytesFor(DType::kQ4_1, 33).has_value());
  REQUIRE_FALSE(BytesFor(DType::kF32, -1).has_value());
  REQUIRE_FALSE(BytesFor(DType::kF32, std::numeric_limits<int64_t>::max()).has_value());
}

TEST_CASE("Q4_0 and Q4_1 hold the first half of a block in the low nibbles", "[tensor]") {
  uint8_t q4_0[18] = {};
  PutHalf(q4_0, 0.5f);
  q4_0[2] = 0x1f;  // element 0: 15, element 16: 1
  float out[32];
  REQUIRE(Dequantize(DType::kQ4_0, q4_0, 32, out));
  REQUIRE(out[0] == 3.5f);
  REQUIRE(out[16] == -3.5f);
  REQUIRE(out[1] == -4.0f);

  uint8_t q4_1[20] = {};
  PutHalf(q4_1, 0.5f);
  PutHalf(q4_1 + 2, -2.0f);
  q4_1[4 + 15] = 0xa3;  // element 15: 3, element 31: 10
  REQUIRE(Dequantize(DType::kQ4_1, q4_1, 32, out));
  REQUIRE(out[15] == -0.5f);
  REQUIRE(out[31] == 3.0f);
  REQUIRE(out[0] == -2.0f);
}

TEST_CASE("Q8_0 elements are signed bytes times the scale", "[tensor]") {
  uint8_t block[34] = {};
  PutHalf(block, 0.25f);
  block[2] = 0x80;
  block[33] = 127;
  float out[32];
  REQUIRE(Dequantize(DType::kQ8_0, block, 32, out));
  REQUIRE(out[0] == -32.0f);
  REQUIRE(out[31] == 31.75f);
}

TEST_CASE("Q6_K joins low nibbles and high bit pairs in ggml's order", "[tensor]") {
  std::vector<uint8_t> block(210, 0);
  PutHalf(&block[208], 1.0f);
  for (int i = 0; i < 16; ++i) block[192 + i] = static_cast<uint8_t>(i + 1);
  // Element 0 of each of the first half's four rows of 32.
  block[0] = 0x21;          // rows 0 and 2: low nibbles 1 and 2
  block[32] = 0x43;         // rows 1 and 3: low nibbles 3 and 4
  block[128] = 0b11100100;  // high pairs of rows 0..3: 0, 1, 2, 3
  float out[256];
  REQUIRE(Dequantize(DType::kQ6_K, block.data(), 256, out));
  REQUIRE(out[0] == 1.0f * (1 - 32));
  REQUIRE(out[32] == 3.0f * (3 + 16 - 32));
  REQUIRE(out[64] == 5.0f * (2 + 32 - 32));
  REQUIRE(out[96] == 7.0f * (4 + 48 - 32));
  REQUIRE(out[255] == 16.0f * -32);
}

TEST_CASE("Unsupported types dequantise to nothing", "[tensor]") {
  uint8_t block[74] = {};
  float out[256] = {42};
  REQUIRE_FALSE(Dequantize(DType::kIQ2_XS, block, 256, out));
  REQUIRE(out[0] == 42);
}

}  // namespace
}  // namespace weft
