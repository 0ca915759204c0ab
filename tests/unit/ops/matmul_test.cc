#include <string>

#include "tests/support/catch.h"
#include "tests/unit/ops/op_fixture.h"

namespace weft {
namespace {

using test::CpuContext;
using test::QuantizedActivations;
using test::RandomFloats;
using test::RawWeight;
using test::SameBits;
using test::SupportedTypes;

const std::vector<DType> kTypes = SupportedTypes();

std::vector<float> Multiply(const Weight& weight, const Activations& x, int64_t rows, Isa isa,
                            int threads) {
  CpuContext cpu(isa, threads);
  std::vector<float> out(static_cast<size_t>(rows * weight.rows), -1.0f);
  const LinearArgs::Output output{&weight, out.data()};
  CpuOps().linear({x, rows, {&output, 1}}, cpu.context);
  return out;
}

Weight Repacked(const RawWeight& raw) {
  ThreadTeam team({.threads = 2});
  PageArena arena;
  return Repack(raw.weight, "test.weight", team, arena).value();
}

TEST_CASE("Linear agrees with fp64 over the dequantised operands for every type", "[ops]") {
  const auto type = GENERATE(from_range(kTypes));
  INFO(Name(type));
  // Rows of weights around the group of 16; rows of x around the passes of 8.
  for (const auto& [outputs, cols, rows] :
       {std::tuple{1, 256, 1}, {15, 512, 3}, {16, 256, 8}, {33, 768, 13}, {50, 256, 21}}) {
    const RawWeight raw(type, outputs, cols, 7);
    const Weight weight = Repacked(raw);
    const QuantizedActivations x(RandomFloats(static_cast<size_t>(rows * cols), 3), cols,
                                 cpu::GetKernels(Isa::kScalar));
    const std::vector<float> input = cpu::IsQuantized(weight.layout) ? x.Dequantized() : x.data;
    const std::vector<float> out = Multiply(weight, x.view, rows, AvailableIsas().back(), 2);
    std::vector<float> values(static_cast<size_t>(outputs * cols));
    REQUIRE(Dequantize(type, raw.bytes.data(), outputs * cols, values.data()));
    for (int r = 0; r < rows; ++r) {
      for (int n = 0; n < outputs; ++n) {
        double sum = 0;
        double magnitude = 0;
        for (int k = 0; k < cols; ++k) {
          const double product = static_cast<double>(values[n * cols + k]) * input[r * cols + k];
          sum += product;
          magnitude += std::abs(product);
        }
        // fp32 accumulation: a few units in the last place of the sum of magnitudes.
        REQUIRE(std::abs(out[r * outputs + n] - sum) <= 2e-6 * magnitude + 1e-9);
      }
    }
  }
}

TEST_CASE("Linear gives the same bits on every instruction set and thread count", "[ops]") {
  const auto type = GENERATE(from_range(kTypes));
  INFO(Name(type));
  const RawWeight raw(type, 83, 512, 11);
  const Weight weight = Repacked(raw);
  const QuantizedActivations x(RandomFloats(19 * 512, 5), 512, cpu::GetKernels(Isa::kScalar));
  const std::vector<float> expected = Multiply(weight, x.view, 19, Isa::kScalar, 1);
  for (const Isa isa : AvailableIsas()) {
    for (const int threads : {1, 2, 3}) {
      REQUIRE(SameBits(Multiply(weight, x.view, 19, isa, threads), expected));
    }
  }
}

TEST_CASE("Products larger than what is taken at once have the same bits on every instruction set",
          "[ops]") {
  // One type a layout. Panels of inputs, sixteen groups and 64 rows at a time, 512 KB of weights:
  // some of each, the last one not whole.
  const DType type = GENERATE(DType::kQ4_1, DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K,
                              DType::kIQ4_NL, DType::kQ2_K, DType::kF16);
  INFO(Name(type));
  constexpr int64_t kOutputs = 26 * 16 + 5;
  constexpr int64_t kCols = 2304;
  constexpr int64_t kRows = 67;
  const RawWeight raw(type, kOutputs, kCols, 13);
  const Weight weight = Repacked(raw);
  const QuantizedActivations x(RandomFloats(kRows * kCols, 6), kCols,
                               cpu::GetKernels(Isa::kScalar));
  // All groups in one call: Linear would give each task a few.
  const auto multiply = [&](int64_t rows, Isa isa) {
    std::vector<float> out(static_cast<size_t>(rows * kOutputs), -1.0f);
    cpu::GetKernels(isa).matmul({.layout = weight.layout,
                                 .weights = weight.packed,
                                 .cols = kCols,
                                 .groups = weight.groups(),
                                 .outputs = kOutputs,
                                 .x = x.view.quantized,
                                 .x_float = x.view.data,
                                 .rows = rows,
                                 .out = out.data(),
                                 .out_stride = kOutputs});
    return out;
  };
  for (const int64_t rows : {19, 67}) {
    const std::vector<float> expected = multiply(rows, Isa::kScalar);
    // One row takes all groups in one go.
    REQUIRE(SameBits(multiply(1, Isa::kScalar), {expected.begin(), expected.begin() + kOutputs}));
    for (const Isa isa : AvailableIsas()) {
      INFO(Name(isa));
      REQUIRE(SameBits(multiply(rows, isa), expected));
    }
  }
}

TEST_CASE("A row's product does not depend on the rows beside it", "[ops]") {
  const auto type = GENERATE(from_range(kTypes));
  INFO(Name(type));
  const RawWeight raw(type, 40, 256, 2);
  const Weight weight = Repacked(raw);
  const int rows = 17;
  const std::vector<float> values = RandomFloats(static_cast<size_t>(rows) * 256, 9);
  const cpu::Kernels& kernels = cpu::GetKernels(AvailableIsas().back());
  const QuantizedActivations all(values, 256, kernels);
  const std::vector<float> together = Multiply(weight, all.view, rows, kernels.isa, 2);
  for (int r = 0; r < rows; ++r) {
    const QuantizedActivations one({values.begin() + r * 256, values.begin() + (r + 1) * 256}, 256,
                                   kernels);
    const std::vector<float> alone = Multiply(weight, one.view, 1, kernels.isa, 1);
    REQUIRE(SameBits(alone, {together.begin() + r * 40, together.begin() + (r + 1) * 40}));
  }
}

TEST_CASE("Extreme weights and activations stay exact on every instruction set", "[ops]") {
  // Every product at its largest magnitude: where 16-bit intermediate sums would saturate.
  for (const DType type : kTypes) {
    if (FindBlockFormat(type) == nullptr || type == DType::kMXFP4) continue;
    INFO(Name(type));
    RawWeight raw(type, 16, 256, 1);
    const auto block = static_cast<size_t>(BlockBytes(type));
    const test::ScaleFields fields = test::ScaleFieldsOf(type);
    const uint8_t fill = type == DType::kQ8_0 ? 0x80 : type == DType::kIQ4_NL ? 0x00 : 0xff;
    for (size_t b = 0; b < raw.bytes.size(); b += block) {
      std::fill_n(raw.bytes.begin() + static_cast<int64_t>(b), block, fill);
      raw.PutHalf(b + fields.scale, 1.0f);
      if (fields.offset_factor != 0) raw.PutHalf(b + fields.offset, 0.0f);
    }
    const Weight weight = Repacked(raw);
    for (const float value : {1.0f, -1.0f}) {
      const QuantizedActivations x(std::vector<float>(256, value), 256,
                                   cpu::GetKernels(Isa::kScalar));
      const std::vector<float> expected = Multiply(weight, x.view, 1, Isa::kScalar, 1);
      std::vector<float> values(256);
      REQUIRE(Dequantize(type, raw.bytes.data(), 256, values.data()));
      double sum = 0;
      for (const float w : values) sum += static_cast<double>(w) * value;
      REQUIRE(expected[0] == Approx(sum).epsilon(1e-6));
      for (const Isa isa : AvailableIsas()) {
        REQUIRE(SameBits(Multiply(weight, x.view, 1, isa, 1), expected));
      }
    }
  }
}

TEST_CASE("The ref table multiplies dequantised weights with fp32 activations", "[ops]") {
  const RawWeight raw(DType::kQ4_1, 20, 96, 4);
  CpuContext cpu(Isa::kScalar, 2);
  std::vector<float> x = RandomFloats(2 * 96, 8);
  std::vector<float> out(2 * 20);
  const LinearArgs::Output output{&raw.weight, out.data()};
  Activations input;
  input.data = x.data();
  input.width = 96;
  RefOps().linear({input, 2, {&output, 1}}, cpu.context);
  std::vector<float> values(20 * 96);
  REQUIRE(Dequantize(DType::kQ4_1, raw.bytes.data(), 20 * 96, values.data()));
  for (int r = 0; r < 2; ++r) {
    for (int n = 0; n < 20; ++n) {
      double sum = 0;
      for (int k = 0; k < 96; ++k) sum += static_cast<double>(values[n * 96 + k]) * x[r * 96 + k];
      REQUIRE(out[r * 20 + n] == Approx(sum).margin(1e-5));
    }
  }
}

}  // namespace
}  // namespace weft
