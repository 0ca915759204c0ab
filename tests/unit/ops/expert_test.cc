#include <algorithm>
#include <cmath>

#include "tests/support/catch.h"
#include "tests/unit/ops/op_fixture.h"

namespace weft {
namespace {

using test::CpuContext;
using test::QuantizedActivations;
using test::RandomFloats;
using test::RawWeight;
using test::SameBits;

struct Choice {
  std::vector<float> probabilities, weights;
  std::vector<int32_t> chosen;
};

Choice Route(const OpTable& ops, OpContext& context, RouteArgs args, std::vector<float> logits) {
  Choice out;
  out.probabilities = std::move(logits);
  const auto slots = static_cast<size_t>(args.rows * args.used);
  out.weights.resize(slots);
  out.chosen.resize(slots);
  args.logits = out.probabilities.data();
  args.chosen = out.chosen.data();
  args.weights = out.weights.data();
  ops.route(args, context);
  return out;
}

TEST_CASE("Route takes the largest in descending order, alike on every level", "[ops]") {
  for (const auto& [experts, used, groups, groups_used, scoring, normalise] :
       {std::tuple{1, 1, 1, 1, ExpertScoring::kSoftmax, true},
        std::tuple{8, 2, 1, 1, ExpertScoring::kSoftmax, true},
        std::tuple{61, 61, 1, 1, ExpertScoring::kSigmoid, false},
        std::tuple{128, 8, 1, 1, ExpertScoring::kSoftmax, false},
        std::tuple{24, 5, 4, 2, ExpertScoring::kSigmoid, true}}) {
    constexpr int64_t kRows = 7;
    const RouteArgs args{.rows = kRows,
                         .experts = experts,
                         .used = used,
                         .scoring = scoring,
                         .groups = groups,
                         .groups_used = groups_used,
                         .normalise = normalise,
                         .scale = 2.5f};
    const std::vector<float> logits = RandomFloats(static_cast<size_t>(kRows * experts), 51, 2.0f);
    CpuContext scalar(Isa::kScalar);
    const Choice expected = Route(RefOps(), scalar.context, args, logits);
    const Choice bits = Route(CpuOps(), scalar.context, args, logits);
    REQUIRE(bits.chosen == expected.chosen);
    for (size_t i = 0; i < expected.weights.size(); ++i) {
      REQUIRE(bits.weights[i] == Approx(expected.weights[i]).epsilon(1e-5));
    }
    for (int64_t row = 0; row < kRows; ++row) {
      const float* p = &expected.probabilities[static_cast<size_t>(row * experts)];
      const int32_t* chosen = &expected.chosen[static_cast<size_t>(row * used)];
      float sum = 0;
      for (int k = 0; k < used; ++k) {
        if (k > 0) REQUIRE(p[chosen[k - 1]] >= p[chosen[k]]);
        sum += expected.weights[static_cast<size_t>(row * used + k)];
      }
      if (normalise) REQUIRE(sum == Approx(2.5f));
      if (groups > 1) {
        const int size = experts / groups;
        std::vector<int> seen;
        for (int k = 0; k < used; ++k) seen.push_back(chosen[k] / size);
        std::sort(seen.begin(), seen.end());
        REQUIRE(std::unique(seen.begin(), seen.end()) - seen.begin() <= groups_used);
      }
    }
    for (const Isa isa : AvailableIsas()) {
      CpuContext cpu(isa, 2);
      const Choice other = Route(CpuOps(), cpu.context, args, logits);
      REQUIRE(other.chosen == bits.chosen);
      REQUIRE(SameBits(other.weights, bits.weights));
    }
  }
}

TEST_CASE("Equal experts are chosen by number, and none twice", "[ops]") {
  CpuContext cpu(AvailableIsas().back());
  const RouteArgs args{.rows = 1, .experts = 6, .used = 6};
  const Choice choice = Route(CpuOps(), cpu.context, args, std::vector<float>(6, 1.0f));
  REQUIRE(choice.chosen == std::vector<int32_t>{0, 1, 2, 3, 4, 5});
}

TEST_CASE("Gather takes rows with the quantised form that they would have alone", "[ops]") {
  CpuContext cpu(AvailableIsas().back(), 2);
  QuantizedActivations in(RandomFloats(5 * 64, 52), 64, *cpu.context.kernels);
  QuantizedActivations out(RandomFloats(7 * 64, 53), 64, *cpu.context.kernels);
  const std::vector<int32_t> rows = {4, 0, 0, 3, 1, 4, 2};
  CpuOps().gather({in.view, rows, out.view}, cpu.context);
  const std::vector<float> from = in.Dequantized();
  const std::vector<float> to = out.Dequantized();
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t c = 0; c < 64; ++c) {
      REQUIRE(out.data[i * 64 + c] == in.data[static_cast<size_t>(rows[i]) * 64 + c]);
      REQUIRE(to[i * 64 + c] == from[static_cast<size_t>(rows[i]) * 64 + c]);
    }
  }
}

TEST_CASE("ExpertLinear multiplies every row by its own expert, as Linear would", "[ops]") {
  constexpr int64_t kOutputs = 37;
  constexpr int64_t kInputs = 96;
  const std::vector<int32_t> first = {0, 3, 3, 4, 11};  // the second expert has no rows
  for (const DType type : {DType::kF32, DType::kF16, DType::kQ8_0, DType::kQ4_1}) {
    std::vector<RawWeight> raw;
    for (uint32_t e = 0; e < 4; ++e) raw.emplace_back(type, kOutputs, kInputs, 60 + e);
    for (const Isa isa : AvailableIsas()) {
      CpuContext cpu(isa, 2);
      QuantizedActivations x(RandomFloats(11 * kInputs, 61), kInputs, *cpu.context.kernels);
      std::vector<Weight> experts;
      for (const RawWeight& weight : raw) {
        experts.push_back(CpuOps().prepare(weight.weight, "w", cpu.context).value());
      }
      std::vector<float> out(11 * kOutputs);
      const ExpertLinearArgs::Output output{experts, out.data()};
      CpuOps().expert_linear({x.view, first, {&output, 1}}, cpu.context);
      for (size_t e = 0; e < 4; ++e) {
        std::vector<float> all(11 * kOutputs);
        const LinearArgs::Output own{&experts[e], all.data()};
        CpuOps().linear({x.view, 11, {&own, 1}}, cpu.context);
        const int64_t begin = first[e] * kOutputs;
        const int64_t end = first[e + 1] * kOutputs;
        REQUIRE(SameBits({out.begin() + begin, out.begin() + end},
                         {all.begin() + begin, all.begin() + end}));
      }
    }
  }
}

TEST_CASE("Combine sums a row's slots in order, over a base or not", "[ops]") {
  constexpr int64_t kWidth = 37;
  const std::vector<float> x = RandomFloats(6 * kWidth, 71);
  const std::vector<float> base = RandomFloats(2 * kWidth, 72);
  const std::vector<int32_t> place = {5, 0, 2, 1, 4, 3};
  const std::vector<float> weights = RandomFloats(6, 73);
  for (const bool add : {false, true}) {
    for (const Isa isa : AvailableIsas()) {
      CpuContext cpu(isa, 2);
      std::vector<float> out = base;
      CpuOps().combine({.x = x.data(),
                        .place = place.data(),
                        .weights = weights.data(),
                        .base = add ? out.data() : nullptr,
                        .rows = 2,
                        .used = 3,
                        .width = kWidth,
                        .out = out.data()},
                       cpu.context);
      for (size_t row = 0; row < 2; ++row) {
        for (size_t i = 0; i < kWidth; ++i) {
          float sum = add ? base[row * kWidth + i] : 0.0f;
          for (size_t k = row * 3; k < row * 3 + 3; ++k) {
            sum = std::fma(x[static_cast<size_t>(place[k]) * kWidth + i], weights[k], sum);
          }
          REQUIRE(out[row * kWidth + i] == sum);
        }
      }
    }
  }
}

}  // namespace
}  // namespace weft
