// Activations in FP8: what their writers make, and their product with FP8 weights.
#include "libs/ops/quantize_gpu.h"

#include <algorithm>
#include <random>

#include "libs/device/number_types.h"
#include "libs/ops/activate_gpu.h"
#include "libs/ops/matmul_fp8_wgmma_gpu.h"
#include "libs/ops/norm_gpu.h"
#include "tests/unit/ops/gpu/rig.h"

namespace weft {
namespace {

using test::RandomFloats;

size_t n(int64_t count) { return static_cast<size_t>(count); }

struct Fp8Rows {
  std::vector<uint8_t> codes;
  std::vector<float> scales;
};

// The definition, of values [rows, width].
Fp8Rows Quantized(const std::vector<float>& values, int64_t width, bool per_row) {
  const size_t group = n(per_row ? width : gpu::kFp8Group);
  Fp8Rows out;
  for (size_t first = 0; first < values.size(); first += group) {
    float largest = 0;
    for (size_t i = 0; i < group; ++i) largest = std::max(largest, std::abs(values[first + i]));
    const float scale = largest > 0 ? largest / gpu::kFp8Largest : 1.0f;
    const float inverse = 1.0f / scale;
    for (size_t i = 0; i < group; ++i) {
      out.codes.push_back(gpu::FromFloat<gpu::E4m3>(values[first + i] * inverse).bits);
    }
    out.scales.push_back(scale);
  }
  return out;
}

struct Room {
  Room(test::Rig& rig, int64_t rows, int64_t width, bool rowwise)
      : codes(rig.Room<uint8_t>(n(rows * width))),
        scales(rig.Room<float>(n(rowwise ? rows : rows * width / gpu::kFp8Group))),
        per_row(rowwise) {}
  gpu::Fp8Out out() const { return {codes.get(), scales.get(), per_row ? 1 : 0}; }

  test::OnDevice<uint8_t> codes;
  test::OnDevice<float> scales;
  bool per_row;
};

void CheckRows(test::Rig& rig, const Room& room, const std::vector<float>& values, int64_t width) {
  const Fp8Rows expected = Quantized(values, width, room.per_row);
  REQUIRE(rig.Get(room.scales) == expected.scales);
  REQUIRE(rig.Get(room.codes) == expected.codes);
}

TEST_CASE("A norm writes its output in FP8 too, scaled by groups or rows", "[gpu][quantize]") {
  constexpr int64_t kRows = 3;
  for (const auto& [width, per_row] : {std::pair<int64_t, bool>{128, false},
                                       {4096, false},
                                       {4224, false},
                                       {576, true},
                                       {8192, true}}) {
    INFO("width " << width << (per_row ? " by rows" : " by groups"));
    test::Rig rig;
    std::vector<float> values = RandomFloats(n(kRows * width), 1, 3.0f);
    // The second row is all zeros.
    std::fill(values.begin() + width, values.begin() + 2 * width, 0.0f);
    const auto x = rig.Put(values);
    const auto weight = rig.Put(RandomFloats(n(width), 2));
    const auto out = rig.Room<float>(values.size());
    const Room room(rig, kRows, width, per_row);
    rig.Run(gpu::AddNorm({.x = x.get(),
                          .weight = weight.get(),
                          .out = out.get(),
                          .fp8 = room.out(),
                          .eps = 1e-5f,
                          .rows = kRows,
                          .width = static_cast<int32_t>(width)},
                         rig.stream()));
    test::RequireCost(0.9);  // three scales are no sector
    CheckRows(rig, room, rig.Get(out), width);
  }
}

TEST_CASE("An activation writes its output in FP8 too, scaled by groups or rows",
          "[gpu][quantize]") {
  constexpr int64_t kRows = 5;
  for (const auto& [width, per_row] :
       {std::pair<int64_t, bool>{128, false}, {896, false}, {100, true}, {2304, true}}) {
    for (const bool gated : {true, false}) {
      INFO("width " << width << (per_row ? " by rows" : " by groups"));
      test::Rig rig;
      const auto gate = rig.Put(RandomFloats(n(kRows * width), 1, 2.0f));
      const auto up = rig.Put(RandomFloats(n(kRows * width), 2));
      const auto out = rig.Room<float>(n(kRows * width));
      const Room room(rig, kRows, width, per_row);
      rig.Run(gpu::Activate({.gate = gated ? gate.get() : nullptr,
                             .up = up.get(),
                             .out = out.get(),
                             .fp8 = room.out(),
                             .elements = kRows * width,
                             .width = static_cast<int32_t>(width)},
                            rig.stream()));
      CheckRows(rig, room, rig.Get(out), width);
    }
  }
}

TEST_CASE("What is in bf16 becomes FP8, scaled by groups or rows", "[gpu][quantize]") {
  constexpr int64_t kRows = 4;
  for (const auto& [width, per_row] : {std::pair<int64_t, bool>{1152, false}, {1156, true}}) {
    test::Rig rig;
    const std::vector<uint16_t> values = test::ToBf16(RandomFloats(n(kRows * width), 1, 9.0f));
    const auto x = rig.Put(values);
    const Room room(rig, kRows, width, per_row);
    rig.Run(gpu::QuantizeFp8(
        {.x = x.get(), .out = room.out(), .rows = kRows, .width = static_cast<int32_t>(width)},
        rig.stream()));
    CheckRows(rig, room, test::FromBf16(values), width);
  }
}

TEST_CASE("FP8 of a width without whole groups is an error with the kernel's name", "[gpu]") {
  uint8_t code = 0;
  float scale = 0;
  const gpu::Fp8Out out{&code, &scale, 0};
  const gpu::LaunchResult results[] = {
      gpu::AddNorm({.fp8 = out, .rows = 1, .width = 192}, nullptr),
      gpu::Activate({.fp8 = out, .elements = 192, .width = 192}, nullptr),
      gpu::QuantizeFp8({.out = out, .rows = 1, .width = 192}, nullptr)};
  for (const gpu::LaunchResult& result : results) {
    REQUIRE_THAT(ToString(gpu::ToStatus(result)), ContainsSubstring("width"));
  }
}

// A product of FP8 by FP8, and its answer in double.
struct Product {
  Product(int64_t row_count, int64_t output_count, int64_t col_count, bool by_row, bool blocks)
      : rows(row_count), outputs(output_count), cols(col_count), per_row(by_row) {
    x = RandomFloats(n(rows * cols), 1);
    fp8 = Quantized(x, cols, per_row);
    std::mt19937 random(7);
    for (int64_t i = 0; i < outputs * cols; ++i) {
      const auto code = static_cast<uint8_t>(random());
      weights.push_back((code & 0x7f) == 0x7f ? uint8_t{0} : code);  // that is NaN
    }
    if (blocks) {
      block = RandomFloats(n((outputs + 127) / 128 * slices()), 2);
    } else {
      channel = RandomFloats(n(outputs), 3);
    }
    bias = RandomFloats(n(outputs), 4);
  }
  int64_t slices() const { return (cols + 127) / 128; }

  std::vector<float> Expected() const {
    std::vector<float> out;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t o = 0; o < outputs; ++o) {
        double sum = 0;
        for (int64_t k = 0; k < cols; ++k) {
          const float x_scale = fp8.scales[n(per_row ? r : r * slices() + k / 128)];
          const float w_scale = block.empty() ? 1.0f : block[n(o / 128 * slices() + k / 128)];
          sum += static_cast<double>(x_scale) * static_cast<double>(w_scale) *
                 static_cast<double>(gpu::ToFloat(gpu::E4m3{fp8.codes[n(r * cols + k)]})) *
                 static_cast<double>(gpu::ToFloat(gpu::E4m3{weights[n(o * cols + k)]}));
        }
        if (!channel.empty()) sum *= static_cast<double>(channel[n(o)]);
        out.push_back(static_cast<float>(sum + static_cast<double>(bias[n(o)])));
      }
    }
    return out;
  }

  // Of the first `count` rows.
  std::vector<float> OnGpu(int64_t count) const {
    test::Rig rig;
    const auto gpu_weights = rig.Put(weights);
    const auto gpu_channel = rig.Put(channel), gpu_block = rig.Put(block), gpu_bias = rig.Put(bias);
    const auto codes =
        rig.Put(std::vector<uint8_t>(fp8.codes.begin(), fp8.codes.begin() + count * cols));
    const auto scales = rig.Put(fp8.scales);
    const auto out = rig.Room<float>(n(count * outputs));
    rig.Run(gpu::WgmmaFp8({.product = {.weights = gpu_weights.get(),
                                       .channel = channel.empty() ? nullptr : gpu_channel.get(),
                                       .block = block.empty() ? nullptr : gpu_block.get(),
                                       .bias = gpu_bias.get(),
                                       .out = out.get(),
                                       .outputs = outputs,
                                       .cols = cols,
                                       .rows = static_cast<int32_t>(count)},
                           .x = {codes.get(), scales.get(), per_row ? 1 : 0}},
                          rig.stream()));
    if (cols % 128 == 0 && count > 100) test::RequireCost(0.9);
    return rig.Get(out);
  }

  int64_t rows, outputs, cols;
  bool per_row;
  std::vector<float> x;
  Fp8Rows fp8;
  std::vector<uint8_t> weights;
  std::vector<float> channel, block, bias;
};

TEST_CASE("FP8 by FP8 on warpgroups is the sum in double, a row's bits the same in any batch",
          "[gpu][matmul][fp8][wgmma]") {
  for (const auto& [cols, per_row, blocks] : {std::tuple<int64_t, bool, bool>{640, false, true},
                                              {512, true, false},
                                              {272, true, false}}) {
    INFO(cols << " columns" << (per_row ? " by rows" : " by groups"));
    const Product product(130, 136, cols, per_row, blocks);
    const std::vector<float> all = product.OnGpu(130);
    REQUIRE(test::RelativeError(all, product.Expected()) < 1e-5);
    const std::vector<float> some = product.OnGpu(20);
    REQUIRE(std::equal(some.begin(), some.end(), all.begin()));
  }
}

}  // namespace
}  // namespace weft
