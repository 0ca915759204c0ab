#include "libs/ops/random_gpu.h"

#include <set>

#include "libs/tensor/storage.h"
#include "tests/unit/ops/gpu/rig.h"

namespace weft {
namespace {

TEST_CASE("Made-up weights have about zero mean, the asked-for spread, and never repeat",
          "[gpu][random]") {
  const DType type = GENERATE(DType::kBF16, DType::kF8E4M3, DType::kQ4_0, DType::kQ4_1,
                              DType::kQ8_0, DType::kQ4_K, DType::kQ6_K);
  INFO(Name(type));
  REQUIRE(gpu::CanMakeUp(type));
  constexpr int64_t kElements = 64 * 256;
  const uint64_t bytes = *BytesFor(type, kElements);
  test::Rig rig;
  const auto make = [&](uint64_t seed) {
    const auto room = rig.Room<uint8_t>(bytes);
    rig.Run(gpu::FillRandom(
        type, {.to = room.get(), .bytes = bytes, .seed = seed, .deviation = 0.02f}, rig.stream()));
    return rig.Get(room);
  };
  const std::vector<uint8_t> made = make(1);
  CHECK(make(1) == made);
  CHECK(make(2) != made);
  std::vector<float> values(kElements);
  REQUIRE(Dequantize(type, made.data(), kElements, values.data()));
  double sum = 0, squares = 0;
  for (const float value : values) {
    REQUIRE(std::isfinite(value));
    sum += value;
    squares += double{value} * value;
  }
  const double mean = sum / kElements;
  const double deviation = std::sqrt(squares / kElements - mean * mean);
  CHECK(std::abs(mean) < 0.004);
  CHECK(deviation > 0.012);
  CHECK(deviation < 0.03);
  CHECK(std::set<float>(values.begin(), values.end()).size() > 15);
}

}  // namespace
}  // namespace weft
