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

// The angle of position 1 in fp64, from its cosine and sine: the frequencies, if they are below pi.
std::vector<double> FrequenciesOf(const ModelConfig& config, double* magnitude = nullptr) {
  const RopeTable table(config, {}, RopeTable::Layers::kAll);
  const int32_t positions[] = {1};
  std::vector<float> out(static_cast<size_t>(config.rope_dim));
  table.Fill(positions, out.data());
  std::vector<double> frequencies;
  const size_t pairs = out.size() / 2;
  for (size_t i = 0; i < pairs; ++i) frequencies.push_back(std::atan2(out[pairs + i], out[i]));
  if (magnitude != nullptr) *magnitude = std::hypot(out[0], out[pairs]);
  return frequencies;
}

TEST_CASE("Llama 3's scaling keeps short waves, stretches long ones and ramps between", "[model]") {
  ModelConfig config;
  config.rope_dim = 64;
  config.rope_base = 500000.0f;
  config.context_length = 131072;
  const std::vector<double> plain = FrequenciesOf(config);
  config.rope_scaling.kind = RopeScaling::Kind::kLlama3;
  config.rope_scaling.factor = 8;
  config.rope_scaling.original_context = 8192;
  const std::vector<double> scaled = FrequenciesOf(config);
  for (size_t i = 0; i < plain.size(); ++i) {
    const double wave = 2 * M_PI / plain[i];
    double expected = plain[i];
    if (wave > 8192.0 / 1) {
      expected = plain[i] / 8;
    } else if (wave >= 8192.0 / 4) {
      const double smooth = (8192 / wave - 1) / 3;
      expected = (1 - smooth) * plain[i] / 8 + smooth * plain[i];
    }
    REQUIRE(scaled[i] == Approx(expected).epsilon(1e-4));
  }
}

TEST_CASE("YaRN stretches slow dimensions and scales cosines and sines", "[model]") {
  ModelConfig config;
  config.rope_dim = 64;
  config.context_length = 131072;
  const std::vector<double> plain = FrequenciesOf(config);
  config.rope_scaling.kind = RopeScaling::Kind::kYarn;
  config.rope_scaling.factor = 4;
  config.rope_scaling.original_context = 32768;
  double magnitude = 0;
  const std::vector<double> scaled = FrequenciesOf(config, &magnitude);
  REQUIRE(magnitude == Approx(0.1 * std::log(4.0) + 1));
  REQUIRE(scaled.front() == Approx(plain.front()).epsilon(1e-5));
  REQUIRE(scaled.back() == Approx(plain.back() / 4).epsilon(1e-4));
  for (size_t i = 1; i < plain.size(); ++i) {
    REQUIRE(scaled[i] / plain[i] <= scaled[i - 1] / plain[i - 1] * 1.0001);
  }
  config.rope_scaling.mscale = config.rope_scaling.mscale_all_dim = 0.707f;
  FrequenciesOf(config, &magnitude);
  REQUIRE(magnitude == Approx(1));
  config.head_dim = 64;
  config.mla.kv_lora = 512;
  const double m = 0.1 * 0.707 * std::log(4.0) + 1;
  REQUIRE(config.score_scale() == Approx(m * m / 8));
}

TEST_CASE("Dynamic scaling begins past the first context and depends on the position", "[model]") {
  ModelConfig config;
  config.rope_dim = 32;
  config.context_length = 4096;
  config.rope_scaling = {.kind = RopeScaling::Kind::kDynamic, .factor = 2, .original_context = 100};
  ModelConfig plain = config;
  plain.rope_scaling = {};
  const int32_t positions[] = {99, 100, 399};
  std::vector<float> scaled(3 * 32), usual(3 * 32), grown(32);
  RopeTable(config, {}, RopeTable::Layers::kAll).Fill(positions, scaled.data());
  RopeTable(plain, {}, RopeTable::Layers::kAll).Fill(positions, usual.data());
  REQUIRE(std::equal(usual.begin(), usual.begin() + 32, scaled.begin()));
  REQUIRE_FALSE(std::equal(usual.begin() + 32, usual.begin() + 64, scaled.begin() + 32));
  // 400 tokens: the base times (2 * 400 / 100 - 1) ^ (32 / 30).
  plain.rope_base = static_cast<float>(10000.0 * std::pow(7.0, 32.0 / 30.0));
  const int32_t last[] = {399};
  RopeTable(plain, {}, RopeTable::Layers::kAll).Fill(last, grown.data());
  for (size_t i = 0; i < 32; ++i) REQUIRE(scaled[64 + i] == Approx(grown[i]).margin(1e-3));
}

TEST_CASE("LongRoPE serves by the context that is served, and keeps its magnitude", "[model]") {
  ModelConfig config;
  config.rope_dim = 32;
  config.context_length = 131072;
  config.rope_scaling.kind = RopeScaling::Kind::kLongRope;
  config.rope_scaling.original_context = 4096;
  REQUIRE(config.serves_long_context());
  double before = 0, after = 0;
  FrequenciesOf(config, &before);
  config.LimitContext(4096);
  REQUIRE_FALSE(config.serves_long_context());
  FrequenciesOf(config, &after);
  REQUIRE(before == Approx(std::sqrt(1 + std::log(32.0) / std::log(4096.0))));
  REQUIRE(after == Approx(before));
}

}  // namespace
}  // namespace weft
