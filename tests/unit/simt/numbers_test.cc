// The formats' conversions against the definition of rounding to nearest even.
#include <cmath>
#include <cstring>
#include <limits>

#include "libs/device/number_types.h"
#include "libs/tensor/half.h"
#include "tests/support/catch.h"

namespace weft::gpu {
namespace {

// Each finite value of a format and every point halfway to the next: `bits` counts up in order of
// magnitude, so the even one of two neighbours is the one with an even pattern.
template <typename T>
void CheckRounding(uint32_t largest) {
  T low{};
  T high{};
  for (uint32_t bits = 0; bits < largest; ++bits) {
    low.bits = static_cast<decltype(low.bits)>(bits);
    high.bits = static_cast<decltype(high.bits)>(bits + 1);
    const double a = ToFloat(low);
    const double b = ToFloat(high);
    REQUIRE(a < b);
    REQUIRE(FromFloat<T>(static_cast<float>(a)).bits == low.bits);
    const float middle = static_cast<float>((a + b) / 2);  // exact: one more bit
    const auto even = bits % 2 == 0 ? low.bits : high.bits;
    REQUIRE(FromFloat<T>(middle).bits == even);
    REQUIRE(FromFloat<T>(std::nextafter(middle, 0.0f)).bits == low.bits);
    REQUIRE(FromFloat<T>(std::nextafter(middle, INFINITY)).bits == high.bits);
    const auto sign = static_cast<uint32_t>(1) << (8 * sizeof(T) - 1);
    REQUIRE(FromFloat<T>(-middle).bits == (even | sign));
  }
}

}  // namespace

TEST_CASE("bf16, half and e4m3 round to nearest even over all their values", "[simt]") {
  CheckRounding<Bf16>(0x7f7f);
  CheckRounding<Half>(0x7bff);
  CheckRounding<E4m3>(0x7e);
}

TEST_CASE("Overflow and NaN convert as the GPU's instructions do", "[simt]") {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(FromFloat<Bf16>(infinity).bits == 0x7f80);
  CHECK(FromFloat<Bf16>(std::numeric_limits<float>::max()).bits == 0x7f80);
  CHECK(FromFloat<Bf16>(nan).bits == 0x7fff);
  CHECK(FromFloat<Half>(65520.0f).bits == 0x7c00);
  CHECK(FromFloat<Half>(-infinity).bits == 0xfc00);
  CHECK(FromFloat<Half>(nan).bits == 0x7fff);
  CHECK(FromFloat<E4m3>(1e9f).bits == 0x7e);
  CHECK(FromFloat<E4m3>(-infinity).bits == 0xfe);
  CHECK(FromFloat<E4m3>(464.0f).bits == 0x7e);
  CHECK(FromFloat<E4m3>(nan).bits == 0x7f);
  CHECK(std::isnan(ToFloat(E4m3{0x7f})));
}

TEST_CASE("Kernels and the CPU engine decode the formats alike", "[simt]") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto h = static_cast<uint16_t>(bits);
    const float a = ToFloat(Half{h});
    const float b = HalfToFloat(h);
    REQUIRE((std::isnan(a) ? std::isnan(b) : a == b));
  }
  for (uint32_t bits = 0; bits < 256; ++bits) {
    const float a = ToFloat(E4m3{static_cast<uint8_t>(bits)});
    const float b = F8E4M3ToFloat(static_cast<uint8_t>(bits));
    REQUIRE((std::isnan(a) ? std::isnan(b) : a == b));
  }
}

}  // namespace weft::gpu
