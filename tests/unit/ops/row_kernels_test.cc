#include <cmath>
#include <limits>

#include "tests/support/catch.h"
#include "tests/unit/ops/op_fixture.h"

namespace weft {
namespace {

using test::RandomFloats;
using test::SameBits;

constexpr int kWidths[] = {1, 15, 16, 17, 48, 576, 1000};

TEST_CASE("RmsNorm is near fp64 and the same on every instruction set", "[ops]") {
  for (const int n : kWidths) {
    const std::vector<float> x = RandomFloats(static_cast<size_t>(n), 1, 3.0f);
    const std::vector<float> weight = RandomFloats(static_cast<size_t>(n), 2);
    std::vector<float> expected(x.size());
    cpu::GetKernels(Isa::kScalar).rms_norm(x.data(), weight.data(), n, 1e-5f, expected.data());
    double squares = 0;
    for (const float value : x) squares += static_cast<double>(value) * value;
    const double inverse = 1 / std::sqrt(squares / n + 1e-5);
    for (size_t i = 0; i < x.size(); ++i) {
      REQUIRE(expected[i] == Approx(x[i] * inverse * weight[i]).epsilon(1e-6));
    }
    for (const Isa isa : AvailableIsas()) {
      std::vector<float> out = x;  // in place
      cpu::GetKernels(isa).rms_norm(out.data(), weight.data(), n, 1e-5f, out.data());
      REQUIRE(SameBits(out, expected));
    }
  }
}

TEST_CASE("SwiGlu is near fp64 over its whole range and the same everywhere", "[ops]") {
  std::vector<float> gate = RandomFloats(997, 4, 8.0f);
  gate[0] = 200.0f;
  gate[1] = -200.0f;
  gate[2] = 0.0f;
  gate[3] = -0.0f;
  const std::vector<float> up = RandomFloats(997, 5);
  std::vector<float> expected(gate.size());
  cpu::GetKernels(Isa::kScalar)
      .activate(Activation::kSilu, gate.data(), up.data(), 997, expected.data());
  for (size_t i = 0; i < gate.size(); ++i) {
    const double exact = gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i];
    REQUIRE(expected[i] == Approx(exact).epsilon(1e-6).margin(1e-30));
  }
  for (const Isa isa : AvailableIsas()) {
    std::vector<float> out(gate.size());
    cpu::GetKernels(isa).activate(Activation::kSilu, gate.data(), up.data(), 997, out.data());
    REQUIRE(SameBits(out, expected));
  }
}

TEST_CASE("GELU of both kinds is near fp64 over its whole range and the same everywhere", "[ops]") {
  std::vector<float> x = RandomFloats(997, 14, 4.0f);
  x[0] = 200.0f;
  x[1] = -200.0f;
  x[2] = 0.0f;
  const std::vector<float> up = RandomFloats(997, 15);
  for (const Activation kind : {Activation::kGeluTanh, Activation::kGelu}) {
    for (const bool gated : {false, true}) {
      const float* gate = gated ? x.data() : nullptr;
      const float* other = gated ? up.data() : x.data();
      std::vector<float> expected(x.size());
      cpu::GetKernels(Isa::kScalar).activate(kind, gate, other, 997, expected.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const double v = x[i];
        const double inner = kind == Activation::kGelu
                                 ? std::erf(v / std::sqrt(2.0))
                                 : std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v));
        const double exact = 0.5 * v * (1 + inner) * (gated ? up[i] : 1);
        REQUIRE(expected[i] == Approx(exact).epsilon(1e-6).margin(2e-6));
      }
      for (const Isa isa : AvailableIsas()) {
        std::vector<float> out(x.size());
        cpu::GetKernels(isa).activate(kind, gate, other, 997, out.data());
        REQUIRE(SameBits(out, expected));
      }
    }
  }
}

TEST_CASE("LayerNorm is near fp64 and the same on every instruction set", "[ops]") {
  for (const int n : kWidths) {
    std::vector<float> x = RandomFloats(static_cast<size_t>(n), 16, 3.0f);
    for (float& value : x) value += 50.0f;
    const std::vector<float> weight = RandomFloats(static_cast<size_t>(n), 17);
    const std::vector<float> bias = RandomFloats(static_cast<size_t>(n), 18);
    std::vector<float> expected(x.size());
    cpu::GetKernels(Isa::kScalar)
        .layer_norm(x.data(), weight.data(), bias.data(), n, 1e-5f, expected.data());
    double mean = 0;
    for (const float value : x) mean += value;
    mean /= n;
    double variance = 0;
    for (const float value : x) variance += (value - mean) * (value - mean);
    const double inverse = 1 / std::sqrt(variance / n + 1e-5);
    for (size_t i = 0; i < x.size(); ++i) {
      REQUIRE(expected[i] ==
              Approx((x[i] - mean) * inverse * weight[i] + bias[i]).epsilon(1e-5).margin(1e-4));
    }
    for (const Isa isa : AvailableIsas()) {
      std::vector<float> out = x;  // in place
      cpu::GetKernels(isa).layer_norm(out.data(), weight.data(), bias.data(), n, 1e-5f, out.data());
      REQUIRE(SameBits(out, expected));
    }
  }
}

TEST_CASE("ScaleAndCap and AddScaled are near fp64 and the same everywhere", "[ops]") {
  for (const int n : kWidths) {
    const std::vector<float> x = RandomFloats(static_cast<size_t>(n), 19, 40.0f);
    const std::vector<float> delta = RandomFloats(static_cast<size_t>(n), 20);
    for (const float cap : {0.0f, 30.0f}) {
      for (const Isa isa : AvailableIsas()) {
        std::vector<float> out = x;
        cpu::GetKernels(isa).scale_and_cap(out.data(), n, 0.25f, cap);
        std::vector<float> scalar = x;
        cpu::GetKernels(Isa::kScalar).scale_and_cap(scalar.data(), n, 0.25f, cap);
        REQUIRE(SameBits(out, scalar));
        std::vector<float> sum = x;
        cpu::GetKernels(isa).add_scaled(sum.data(), delta.data(), 0.3f, n);
        for (size_t i = 0; i < x.size(); ++i) {
          const double v = 0.25 * x[i];
          REQUIRE(out[i] == Approx(cap > 0 ? cap * std::tanh(v / cap) : v).margin(2e-5));
          REQUIRE(sum[i] == std::fma(delta[i], 0.3f, x[i]));
        }
      }
    }
  }
}

TEST_CASE("AddNorm quantises alike with and without room for floats", "[ops]") {
  constexpr int64_t kRows = 70;
  constexpr int64_t kWidth = 576;
  const std::vector<float> weight = RandomFloats(kWidth, 31);
  const std::vector<float> delta = RandomFloats(kRows * kWidth, 32);
  for (const Isa isa : AvailableIsas()) {
    test::CpuContext cpu(isa, 2);
    const auto run = [&](bool keeps_floats) {
      std::vector<float> x = RandomFloats(kRows * kWidth, 33);
      std::vector<float> step = delta;
      test::QuantizedActivations out(std::vector<float>(x.size()), kWidth, *cpu.context.kernels);
      Activations view = out.view;
      if (!keeps_floats) view.data = nullptr;
      CpuOps().add_norm({.x = x.data(),
                         .delta = step.data(),
                         .norm = {weight.data()},
                         .eps = 1e-5f,
                         .rows = kRows,
                         .out = view},
                        cpu.context);
      return out;
    };
    const test::QuantizedActivations both = run(true);
    const test::QuantizedActivations alone = run(false);
    REQUIRE(alone.SameQuantized(both));
    REQUIRE_FALSE(SameBits(both.data, alone.data));
  }
}

TEST_CASE("Add adds whole rows of any width", "[ops]") {
  for (const Isa isa : AvailableIsas()) {
    for (const int n : kWidths) {
      std::vector<float> x = RandomFloats(static_cast<size_t>(n), 6);
      const std::vector<float> before = x;
      const std::vector<float> delta = RandomFloats(static_cast<size_t>(n), 7);
      cpu::GetKernels(isa).add(x.data(), delta.data(), n);
      for (size_t i = 0; i < x.size(); ++i) REQUIRE(x[i] == before[i] + delta[i]);
    }
  }
}

struct Quantized {
  explicit Quantized(size_t n) : q(n), scale(n / 32), scaled_sum(n / 32), minus128sum(n / 16) {}
  cpu::QuantizedRows row() {
    return {q.data(), scale.data(), scaled_sum.data(), minus128sum.data(), 1};
  }
  std::vector<int8_t> q;
  std::vector<float> scale, scaled_sum;
  std::vector<int32_t> minus128sum;
};

TEST_CASE("Quantize rounds to the nearest of 255 steps and is the same everywhere", "[ops]") {
  std::vector<float> x = RandomFloats(576, 8, 2.0f);
  std::fill_n(x.begin() + 64, 32, 0.0f);
  std::fill_n(x.begin() + 96, 32, 1e-38f);
  x[130] = 1e30f;
  Quantized expected(x.size());
  cpu::GetKernels(Isa::kScalar).quantize(x.data(), 576, expected.row());
  for (size_t i = 0; i < x.size(); ++i) {
    REQUIRE(std::abs(expected.q[i]) <= 127);
    REQUIRE(std::abs(x[i] - expected.q[i] * expected.scale[i / 32]) <=
            0.501f * expected.scale[i / 32] + 1e-37f);
  }
  for (size_t h = 0; h < x.size() / 16; ++h) {
    int sum = 0;
    for (int i = 0; i < 16; ++i) sum += expected.q[16 * h + static_cast<size_t>(i)];
    REQUIRE(expected.minus128sum[h] == -128 * sum);
  }
  for (const Isa isa : AvailableIsas()) {
    Quantized out(x.size());
    cpu::GetKernels(isa).quantize(x.data(), 576, out.row());
    REQUIRE(out.q == expected.q);
    REQUIRE(SameBits(out.scale, expected.scale));
    REQUIRE(SameBits(out.scaled_sum, expected.scaled_sum));
    REQUIRE(out.minus128sum == expected.minus128sum);
  }
}

TEST_CASE("Quantize keeps bytes in range for infinities and NaN, alike everywhere", "[ops]") {
  std::vector<float> x = RandomFloats(64, 9);
  x[3] = std::numeric_limits<float>::infinity();
  x[40] = std::numeric_limits<float>::quiet_NaN();
  Quantized expected(x.size());
  cpu::GetKernels(Isa::kScalar).quantize(x.data(), 64, expected.row());
  for (const int8_t q : expected.q) REQUIRE(std::abs(q) <= 127);
  for (const Isa isa : AvailableIsas()) {
    Quantized out(x.size());
    cpu::GetKernels(isa).quantize(x.data(), 64, out.row());
    REQUIRE(out.q == expected.q);
  }
}

}  // namespace
}  // namespace weft
