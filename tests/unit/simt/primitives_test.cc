// Each primitive's twin against the documented layout and a plain matrix product.
#include "tests/support/catch.h"
#include "tests/support/primitive_cases.h"

namespace weft::gpu {

TEST_CASE("Every primitive gives what its documented layout says, in any order of threads",
          "[simt]") {
  for (const PrimitiveCase& c : PrimitiveCases()) {
    for (const uint32_t seed : {0u, 1u, 2u}) {
      simt::LaunchOptions() = {};
      simt::LaunchOptions().seed = seed;
      INFO(c.name << ", seed " << seed);
      const std::vector<uint32_t> in = c.make_input(c.in_words);
      const simt::Buffer<uint32_t> from(in, "in");
      const simt::Buffer<uint32_t> to(c.out_words, "out");
      PrimitiveParams params{from.data(), to.data(), {}, {}};
      if (c.has_map) {
        REQUIRE(MakeTensorMap(c.map, from.data(), &params.map) == nullptr);
        REQUIRE(MakeTensorMap(c.map, to.data(), &params.store_map) == nullptr);
      }
      const DeviceError error =
          Launch(c.kernel, {1, c.threads, c.shared_bytes, c.name}, nullptr, params);
      INFO(simt::LastReport().Text());
      REQUIRE(error == cudaSuccess);
      CHECK(to.IsWritten());
      const std::vector<uint32_t> want = c.expect(in);
      const std::vector<uint32_t> got = to.Download();
      REQUIRE(want.size() == got.size());
      size_t wrong = 0;
      for (size_t i = 0; i < want.size(); ++i) {
        if (got[i] != want[i] && ++wrong == 1)
          UNSCOPED_INFO("first at word " << i << ": " << got[i]);
      }
      CHECK(wrong == 0);
    }
  }
  simt::LaunchOptions() = {};
}

}  // namespace weft::gpu
