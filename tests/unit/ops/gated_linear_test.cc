#include "tests/support/catch.h"
#include "tests/unit/ops/op_fixture.h"

namespace weft {
namespace {

using test::CpuContext;
using test::QuantizedActivations;
using test::RandomFloats;
using test::RawWeight;
using test::SameBits;

struct Network {
  Network(DType type, int64_t width, int64_t cols, int64_t rows, bool with_gate)
      : raw_gate(type, width, cols, 31),
        raw_up(type, width, cols, 32),
        bias(RandomFloats(static_cast<size_t>(width), 33)),
        x(RandomFloats(static_cast<size_t>(rows * cols), 34), cols, cpu::GetKernels(Isa::kScalar)),
        rows(rows),
        gated(with_gate) {
    ThreadTeam team({.threads = 2});
    PageArena arena;
    gate = Repack(raw_gate.weight, "gate", team, arena).value();
    up = Repack(raw_up.weight, "up", team, arena).value();
  }
  int64_t width() const { return up.rows; }
  // What the op stands for, by the ops it is made of.
  std::vector<float> Separately(const OpTable& ops, OpContext& context, bool raw) const {
    std::vector<float> gate_out(static_cast<size_t>(rows * width()));
    std::vector<float> up_out(gate_out.size());
    const LinearArgs::Output outputs[2] = {
        {raw ? &raw_up.weight : &up, up_out.data(), bias.data()},
        {raw ? &raw_gate.weight : &gate, gate_out.data(), nullptr}};
    ops.linear({x.view, rows, outputs}, context);
    std::vector<float> out(gate_out.size());
    Activations view{out.data(), width(), {}};
    ops.activate({Activation::kSilu, gated ? gate_out.data() : nullptr, up_out.data(), rows, view},
                 context);
    return out;
  }
  void Together(const OpTable& ops, OpContext& context, bool raw, const Activations& out) const {
    GatedLinearArgs args;
    args.input = x.view;
    args.rows = rows;
    args.out = out;
    args.up = {raw ? &raw_up.weight : &up, nullptr, bias.data()};
    if (gated) args.gate = {raw ? &raw_gate.weight : &gate, nullptr, nullptr};
    ops.gated_linear(args, context);
  }

  RawWeight raw_gate, raw_up;
  Weight gate, up;
  std::vector<float> bias;
  QuantizedActivations x;
  int64_t rows;
  bool gated;
};

TEST_CASE("GatedLinear has the bits of its parts on every level and thread count", "[ops]") {
  // Widths around groups of 16, blocks of 32 and pieces; rows that leave one block a piece.
  for (const auto& [width, rows, gated] : {std::tuple{5, 1, true},
                                           {64, 3, true},
                                           {80, 17, false},
                                           {416, 16, true},
                                           {96, 1100, true}}) {
    for (const DType type : {DType::kQ4_1, DType::kF16}) {
      const Network network(type, width, 64, rows, gated);
      CpuContext scalar(Isa::kScalar);
      const std::vector<float> expected = network.Separately(CpuOps(), scalar.context, false);
      for (const Isa isa : AvailableIsas()) {
        if (isa == Isa::kScalar && rows > 100) continue;
        CpuContext cpu(isa, 1 + rows % 3);
        std::vector<float> out(expected.size());
        network.Together(CpuOps(), cpu.context, false, {out.data(), width, {}});
        REQUIRE(SameBits(out, expected));
      }
    }
  }
}

TEST_CASE("GatedLinear quantises, with or without room for floats", "[ops]") {
  for (const int rows : {1, 40}) {
    const Network network(DType::kQ4_K, 160, 256, rows, true);
    for (const Isa isa : AvailableIsas()) {
      CpuContext cpu(isa, 2);
      const QuantizedActivations expected(network.Separately(CpuOps(), cpu.context, false), 160,
                                          *cpu.context.kernels);
      for (const bool floats : {true, false}) {
        QuantizedActivations actual(std::vector<float>(expected.data.size()), 160,
                                    *cpu.context.kernels);
        Activations out = actual.view;
        if (!floats) out.data = nullptr;
        network.Together(CpuOps(), cpu.context, false, out);
        REQUIRE(actual.SameQuantized(expected));
        if (floats) REQUIRE(SameBits(actual.data, expected.data));
      }
    }
  }
}

TEST_CASE("The ref table's GatedLinear is linear and activation", "[ops]") {
  for (const bool gated : {true, false}) {
    const Network network(DType::kQ8_0, 33, 64, 5, gated);
    CpuContext cpu(Isa::kScalar);
    std::vector<float> out(33 * 5);
    network.Together(RefOps(), cpu.context, true, {out.data(), 33, {}});
    REQUIRE(SameBits(out, network.Separately(RefOps(), cpu.context, true)));
  }
}

}  // namespace
}  // namespace weft
