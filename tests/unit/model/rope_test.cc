#include "libs/model/rope.h"

#include <cmath>

#include "tests/support/catch.h"

namespace weft {
namespace {

TEST_CASE("SinCos is near libm, nearest for small angles", "[model]") {
  for (double x = -50; x < 50; x += 0.0137) {
    double s = 0, c = 0;
    SinCos(x, &s, &c);
    REQUIRE(std::abs(s - std::sin(x)) < 1e-15);
    REQUIRE(std::abs(c - std::cos(x)) < 1e-15);
  }
  for (const double x : {1e3, 8191.0, 131071.5, 1e6, 16777215.0}) {
    double s = 0, c = 0;
    SinCos(x, &s, &c);
    REQUIRE(std::abs(s - std::sin(x)) < (x < 1e6 ? 1e-12 : 1e-9));
    REQUIRE(std::abs(c - std::cos(x)) < (x < 1e6 ? 1e-12 : 1e-9));
  }
}

TEST_CASE("RopeTable gives cosines and sines of position times frequency", "[model]") {
  ModelConfig config;
  config.rope_dim = 64;
  config.rope_base = 100000.0f;
  const RopeTable table(config, {}, RopeTable::Layers::kAll);
  const int32_t positions[] = {0, 1, 777, 8000};
  std::vector<float> out(4 * 64);
  table.Fill(positions, out.data());
  for (int row = 0; row < 4; ++row) {
    for (int i = 0; i < 32; ++i) {
      const float frequency = static_cast<float>(std::pow(100000.0, -i / 32.0));
      const float angle = static_cast<float>(positions[row]) * frequency;
      REQUIRE(out[row * 64 + i] == Approx(std::cos(static_cast<double>(angle))).margin(1e-7));
      REQUIRE(out[row * 64 + 32 + i] == Approx(std::sin(static_cast<double>(angle))).margin(1e-7));
    }
  }
}

TEST_CASE("RopeTable divides positions by the scale and frequencies by the factors", "[model]") {
  ModelConfig config;
  config.rope_dim = 2;
  config.rope_scaling = {.kind = RopeScaling::Kind::kLinear, .factor = 4.0f};
  const float factors[] = {2.0f};
  const RopeTable table(config, factors, RopeTable::Layers::kAll);
  const int32_t positions[] = {12};
  float out[2];
  table.Fill(positions, out);
  REQUIRE(out[0] == Approx(std::cos(1.5)));
  REQUIRE(out[1] == Approx(std::sin(1.5)));
}

}  // namespace
}  // namespace weft
