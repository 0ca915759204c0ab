#include "libs/quantize/quantizers.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tests/support/catch.h"

namespace weft {
namespace {

constexpr DType kAll[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0,
                          DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                          DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

std::vector<float> RandomValues(size_t count, float spread, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> out(count);
  for (float& value : out) value = normal(random);
  return out;
}

std::vector<float> RoundTrip(DType type, const std::vector<float>& values) {
  const auto count = static_cast<int64_t>(values.size());
  std::vector<uint8_t> encoded(BytesFor(type, count).value());
  REQUIRE(Quantize(type, values.data(), count, encoded.data()));
  std::vector<float> out(values.size());
  REQUIRE(Dequantize(type, encoded.data(), count, out.data()));
  return out;
}

double RelativeRms(const std::vector<float>& values, const std::vector<float>& other) {
  double errors = 0;
  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    errors += std::pow(static_cast<double>(values[i]) - other[i], 2);
    squares += std::pow(static_cast<double>(values[i]), 2);
  }
  return std::sqrt(errors / squares);
}

// Goldens: tests/data/golden/make_quantize_goldens.py.
void Compare(const std::string& folder) {
  for (const DType type : {DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                           DType::kQ5_1, DType::kQ8_0}) {
    const std::string path = folder + "/" + std::string(Name(type)) + ".bin";
    INFO(path);
    std::ifstream file(path, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    REQUIRE(bytes.size() > 8);
    uint64_t count = 0;
    std::memcpy(&count, bytes.data(), sizeof(count));
    const uint64_t encoded_bytes = BytesFor(type, static_cast<int64_t>(count)).value();
    REQUIRE(bytes.size() == 8 + 4 * count + encoded_bytes);
    std::vector<float> values(count);
    std::memcpy(values.data(), bytes.data() + 8, 4 * count);
    std::vector<uint8_t> encoded(encoded_bytes);
    REQUIRE(Quantize(type, values.data(), static_cast<int64_t>(count), encoded.data()));
    REQUIRE(std::memcmp(encoded.data(), bytes.data() + 8 + 4 * count, encoded_bytes) == 0);
  }
}

TEST_CASE("Formats without a search give the bits of the Python package gguf", "[quantize]") {
  Compare("tests/data/golden/quantize");
}

TEST_CASE("Large random rows quantise to the bits of the Python package gguf", "[.full]") {
  const char* folder = std::getenv("WEFT_QUANTIZE_GOLDENS");
  REQUIRE(folder != nullptr);
  Compare(folder);
}

TEST_CASE("Every format is as near to normal weights as its bits allow", "[quantize]") {
  const std::vector<float> values = RandomValues(256 * 64, 0.05f, 1);
  const std::pair<DType, double> bounds[] = {
      {DType::kF32, 0},       {DType::kF16, 3e-4},   {DType::kBF16, 2.5e-3}, {DType::kQ8_0, 0.006},
      {DType::kQ6_K, 0.0185}, {DType::kQ5_K, 0.037}, {DType::kQ5_1, 0.045},  {DType::kQ5_0, 0.05},
      {DType::kQ4_K, 0.075},  {DType::kQ4_1, 0.09},  {DType::kQ4_0, 0.1}};
  for (const auto& [type, bound] : bounds) {
    INFO(Name(type));
    const double error = RelativeRms(values, RoundTrip(type, values));
    CAPTURE(error);
    REQUIRE(error <= bound);
  }
}

TEST_CASE("Zeros, constants and one outlier survive every format", "[quantize]") {
  for (const DType type : kAll) {
    INFO(Name(type));
    const std::vector<float> zeros(256, 0.0f);
    REQUIRE(RoundTrip(type, zeros) == zeros);
    for (const float value : {1.0f, -1.0f, 3e-3f}) {
      const std::vector<float> constant(256, value);
      REQUIRE(RelativeRms(constant, RoundTrip(type, constant)) < 0.02);
    }
    std::vector<float> spike(256, 0.0f);
    spike[100] = -8.0f;
    REQUIRE(RelativeRms(spike, RoundTrip(type, spike)) < 0.02);
  }
}

TEST_CASE("A super-block of tiny or huge values stays finite", "[quantize]") {
  for (const DType type : kAll) {
    INFO(Name(type));
    for (const float spread : {1e-38f, 1e-30f, 1e-9f, 1e4f}) {
      for (const float value : RoundTrip(type, RandomValues(256, spread, 3))) {
        REQUIRE(std::isfinite(value));
      }
    }
  }
}

TEST_CASE("What a format cannot hold is refused", "[quantize]") {
  uint8_t out[1024];
  for (const DType type : kAll) {
    INFO(Name(type));
    for (const float bad : {std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN(), 3e38f, -3e38f}) {
      std::vector<float> values = RandomValues(256, 1.0f, 4);
      values[77] = bad;
      const bool plain = type == DType::kF32 || type == DType::kBF16;
      REQUIRE(Quantize(type, values.data(), 256, out) == (plain && std::isfinite(bad)));
    }
  }
  REQUIRE_FALSE(CanQuantize(DType::kQ2_K));
  const float zero = 0;
  REQUIRE_FALSE(Quantize(DType::kQ2_K, &zero, 0, out));
}

}  // namespace
}  // namespace weft
