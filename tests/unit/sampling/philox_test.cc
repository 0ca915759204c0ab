#include "libs/sampling/philox.h"

#include <set>

#include "tests/support/catch.h"

namespace weft::sampling {
namespace {

using Words = std::array<uint32_t, 4>;

TEST_CASE("Philox4x32 gives the known answers of Random123", "[sampling]") {
  // kat_vectors, philox4x32 with 10 rounds.
  CHECK(Philox4x32({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("UniformDraw depends on seed, choice, index and draw, and lies in [0, 1)", "[sampling]") {
  std::set<double> seen;
  for (uint64_t seed : {0ULL, 1ULL, 1ULL << 40}) {
    for (uint32_t choice : {0U, 1U}) {
      for (uint32_t index = 0; index < 100; ++index) {
        for (uint32_t draw : {0U, 1U}) {
          const double u = UniformDraw(seed, choice, index, draw);
          CHECK(u >= 0.0);
          CHECK(u < 1.0);
          CHECK(seen.insert(u).second);
        }
      }
    }
  }
}

TEST_CASE("UniformDraw is uniform over the output indexes of a seed", "[sampling]") {
  std::array<int, 16> buckets{};
  constexpr int kDraws = 160000;
  for (uint32_t i = 0; i < kDraws; ++i) {
    ++buckets[static_cast<size_t>(UniformDraw(42, 0, i, 0) * 16.0)];
  }
  double chi2 = 0.0;
  for (int n : buckets) chi2 += (n - kDraws / 16.0) * (n - kDraws / 16.0) / (kDraws / 16.0);
  CHECK(chi2 < 37.7);  // 15 degrees of freedom, p = 0.001
}

}  // namespace
}  // namespace weft::sampling
