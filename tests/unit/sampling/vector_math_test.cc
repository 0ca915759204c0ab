#include "libs/sampling/vector_math.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/support/catch.h"

namespace weft::sampling {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> Random(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 4.0F);
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

TEST_CASE("ExpNegative is within two units in the last place of exp", "[sampling]") {
  for (int i = 0; i <= 870000; ++i) {
    const float x = -static_cast<float>(i) * 1e-4F;
    const double exact = std::exp(static_cast<double>(x));
    const double ulp = std::ldexp(1.0, std::max(std::ilogb(exact), -126) - 23);
    if (std::abs(static_cast<double>(ExpNegative(x)) - exact) > 2.0 * ulp) FAIL("at " << x);
  }
  CHECK(ExpNegative(0.0F) == 1.0F);
  CHECK(ExpNegative(-87.5F) == 0.0F);
  CHECK(ExpNegative(-kInf) == 0.0F);
  CHECK(ExpNegative(NAN) == 0.0F);
}

TEST_CASE("Max gives the lowest index of the largest value for every length", "[sampling]") {
  for (size_t n : {1, 2, 15, 16, 17, 31, 33, 100, 1000}) {
    for (unsigned seed = 0; seed < 20; ++seed) {
      std::vector<float> x = Random(n, seed);
      for (float& v : x) v = std::round(v);  // many ties
      if (n > 3) x[2] = NAN;
      size_t best = 0;
      for (size_t i = 0; i < n; ++i) {
        if (std::isnan(x[best]) || x[i] > x[best]) best = i;
      }
      const MaxResult max = Max(x);
      REQUIRE(max.index == static_cast<int32_t>(best));
      REQUIRE(max.value == x[best]);
    }
  }
  CHECK(Max({}).index == -1);
  const std::vector<float> nothing = {-kInf, NAN, -kInf};
  CHECK(Max(nothing).index == -1);
  const std::vector<float> big = {1.0F, kInf};
  CHECK(Max(big).index == 1);
}

TEST_CASE("Sums keep one order: chunks of the whole and the whole agree", "[sampling]") {
  for (size_t n : {1, 16, 511, 512, 513, 5000}) {
    const std::vector<float> x = Random(n, 3);
    std::vector<float> weights(n);
    const double total = ExpShifted(x, 12.0F, 1.0F, weights);
    CHECK(total == SumExpShifted(x, 12.0F));
    CHECK(total == Sum(weights));
    double chunks = 0.0;
    double exact = 0.0;
    for (size_t i = 0; i < n; i += kSumChunk) {
      chunks += Sum(std::span<const float>(weights).subspan(i, std::min(kSumChunk, n - i)));
    }
    for (size_t i = 0; i < n; ++i) {
      REQUIRE(weights[i] == ExpNegative(x[i] - 12.0F));
      exact += static_cast<double>(weights[i]);
    }
    CHECK(chunks == total);
    CHECK(std::abs(total - exact) <= 1e-5 * exact);
  }
}

TEST_CASE("BlockMax takes the largest of every 64 and of the rest", "[sampling]") {
  for (size_t n : {1, 63, 64, 65, 200, 1024}) {
    std::vector<float> x = Random(n, 9);
    x[0] = NAN;
    std::vector<float> blocks((n + 63) / 64);
    BlockMax(x, blocks);
    for (size_t b = 0; b < blocks.size(); ++b) {
      float best = -kInf;
      for (size_t i = b * 64; i < std::min(n, b * 64 + 64); ++i) best = std::max(best, x[i]);
      REQUIRE(blocks[b] == best);
    }
  }
}

}  // namespace
}  // namespace weft::sampling
