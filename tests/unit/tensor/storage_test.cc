#include "libs/tensor/storage.h"

#include <cstring>
#include <limits>
#include <vector>

#include "tests/support/catch.h"

namespace weft {
namespace {

TEST_CASE("PageArena hands out aligned, zeroed slices that do not overlap", "[tensor]") {
  PageArena arena;
  std::vector<std::pair<std::shared_ptr<uint8_t>, uint64_t>> slices;
  for (const uint64_t bytes : {1u, 64u, 100u, 5u << 20, 20u << 20, 40u << 20, 7u, 12u << 20}) {
    auto slice = arena.Allocate(bytes);
    REQUIRE(slice != nullptr);
    REQUIRE(reinterpret_cast<uintptr_t>(slice.get()) % 64 == 0);
    for (uint64_t i = 0; i < bytes; i += 4096) REQUIRE(slice.get()[i] == 0);
    std::memset(slice.get(), static_cast<int>(slices.size() + 1), bytes);
    slices.emplace_back(std::move(slice), bytes);
  }
  for (size_t i = 0; i < slices.size(); ++i) {
    REQUIRE(slices[i].first.get()[0] == i + 1);
    REQUIRE(slices[i].first.get()[slices[i].second - 1] == i + 1);
  }
}

TEST_CASE("A slice outlives its arena", "[tensor]") {
  std::shared_ptr<uint8_t> slice;
  {
    PageArena arena;
    slice = arena.Allocate(1000);
  }
  std::memset(slice.get(), 1, 1000);
  REQUIRE(slice.get()[999] == 1);
}

TEST_CASE("PageArena has nothing for sizes that no machine has", "[tensor]") {
  PageArena arena;
  REQUIRE(arena.Allocate(std::numeric_limits<uint64_t>::max()) == nullptr);
  REQUIRE(arena.Allocate(uint64_t{1} << 60) == nullptr);
  REQUIRE(arena.Allocate(64) != nullptr);
}

}  // namespace
}  // namespace weft
