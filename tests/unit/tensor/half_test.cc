#include "libs/tensor/half.h"

#include <cmath>
#include <limits>

#include "tests/support/catch.h"

namespace weft {
namespace {

TEST_CASE("Every half survives the way to fp32 and back", "[tensor]") {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const uint16_t half = static_cast<uint16_t>(h);
    const float value = HalfToFloat(half);
    if (std::isnan(value)) {
      REQUIRE(std::isnan(HalfToFloat(FloatToHalf(value))));
      continue;
    }
    REQUIRE(FloatToHalf(value) == half);
  }
}

TEST_CASE("FloatToHalf rounds to nearest even between every two neighbours", "[tensor]") {
  for (uint16_t h = 0; h < 0x7bff; ++h) {
    const double low = HalfToFloat(h);
    const double high = HalfToFloat(static_cast<uint16_t>(h + 1));
    const float middle = static_cast<float>((low + high) / 2);  // exact: halves have 11 bits
    const uint16_t even = h % 2 == 0 ? h : static_cast<uint16_t>(h + 1);
    REQUIRE(FloatToHalf(middle) == even);
    REQUIRE(FloatToHalf(std::nextafterf(middle, 0.0f)) == h);
    REQUIRE(FloatToHalf(std::nextafterf(middle, 1e9f)) == h + 1);
    REQUIRE(FloatToHalf(-middle) == (even | 0x8000));
  }
}

TEST_CASE("FloatToHalf overflows to infinity and underflows to zero", "[tensor]") {
  REQUIRE(FloatToHalf(65504.0f) == 0x7bff);
  REQUIRE(FloatToHalf(65519.9f) == 0x7bff);
  REQUIRE(FloatToHalf(65520.0f) == 0x7c00);
  REQUIRE(FloatToHalf(std::numeric_limits<float>::infinity()) == 0x7c00);
  REQUIRE(FloatToHalf(-1e30f) == 0xfc00);
  REQUIRE(FloatToHalf(1e-30f) == 0);
  REQUIRE(FloatToHalf(-0.0f) == 0x8000);
  REQUIRE(Bf16ToFloat(0x3f80) == 1.0f);
}

}  // namespace
}  // namespace weft
