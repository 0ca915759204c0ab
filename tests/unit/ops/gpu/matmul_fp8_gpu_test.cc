#include "libs/ops/matmul_fp8_gpu.h"

#include <random>

#include "libs/device/number_types.h"
#include "libs/ops/matmul_tiled_gpu.h"
#include "tests/unit/ops/gpu/rig.h"

namespace weft {
namespace {

using test::RandomFloats;

struct Product {
  int64_t outputs = 0, cols = 0;
  std::vector<uint8_t> weights;
  std::vector<float> channel, block, bias;  // empty: none
};

Product RandomProduct(int64_t outputs, int64_t cols, bool channel, bool block, bool bias) {
  std::mt19937 random(static_cast<uint32_t>(outputs * 7919 + cols));
  Product p{
      .outputs = outputs, .cols = cols, .weights = {}, .channel = {}, .block = {}, .bias = {}};
  for (int64_t i = 0; i < outputs * cols; ++i) {
    const auto code = static_cast<uint8_t>(random());
    p.weights.push_back((code & 0x7f) == 0x7f ? uint8_t{0} : code);  // that is NaN
  }
  if (channel) p.channel = RandomFloats(static_cast<size_t>(outputs), 1);
  if (block) {
    p.block = RandomFloats(static_cast<size_t>((outputs + 127) / 128 * ((cols + 127) / 128)), 2);
  }
  if (bias) p.bias = RandomFloats(static_cast<size_t>(outputs), 3);
  return p;
}

// In double.
std::vector<float> Expected(const Product& p, const std::vector<float>& x, int64_t rows) {
  std::vector<float> out;
  const int64_t slices = (p.cols + 127) / 128;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t n = 0; n < p.outputs; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < p.cols; ++k) {
        const double scale =
            p.block.empty()
                ? 1.0
                : static_cast<double>(p.block[static_cast<size_t>(n / 128 * slices + k / 128)]);
        const auto w = static_cast<double>(
            gpu::ToFloat(gpu::E4m3{p.weights[static_cast<size_t>(n * p.cols + k)]}));
        sum += scale * w * static_cast<double>(x[static_cast<size_t>(r * p.cols + k)]);
      }
      if (!p.channel.empty()) sum *= static_cast<double>(p.channel[static_cast<size_t>(n)]);
      if (!p.bias.empty()) sum += static_cast<double>(p.bias[static_cast<size_t>(n)]);
      out.push_back(static_cast<float>(sum));
    }
  }
  return out;
}

enum class Kernel { kSkinny, kTiled };

std::vector<float> OnGpu(const Product& p, const std::vector<uint16_t>& x, int64_t rows,
                         double coalesced = 0.95, Kernel kernel = Kernel::kSkinny) {
  test::Rig rig;
  const auto weights = rig.Put(p.weights);
  const auto channel = rig.Put(p.channel);
  const auto block = rig.Put(p.block);
  const auto bias = rig.Put(p.bias);
  const auto input = rig.Put(x);
  const auto out = rig.Room<float>(static_cast<size_t>(rows * p.outputs));
  const gpu::SkinnyFp8Params params{.weights = weights.get(),
                                    .channel = p.channel.empty() ? nullptr : channel.get(),
                                    .block = p.block.empty() ? nullptr : block.get(),
                                    .x = input.get(),
                                    .bias = p.bias.empty() ? nullptr : bias.get(),
                                    .out = out.get(),
                                    .outputs = p.outputs,
                                    .cols = p.cols,
                                    .rows = static_cast<int32_t>(rows)};
  rig.Run(kernel == Kernel::kSkinny ? gpu::SkinnyFp8(params, rig.stream())
                                    : gpu::TiledFp8(params, rig.stream()));
  test::RequireCost(coalesced);
  return rig.Get(out);
}

TEST_CASE("FP8 products of the GPU are the oracle's under every kind of scale",
          "[gpu][matmul][fp8]") {
  for (const auto& [channel, block] : {std::pair(false, false), {true, false}, {false, true}}) {
    for (const int64_t rows : {1, 9}) {
      INFO("channel " << channel << " block " << block << " rows " << rows);
      const Product p = RandomProduct(144, 384, channel, block, rows == 9);
      const std::vector<uint16_t> x =
          test::ToBf16(RandomFloats(static_cast<size_t>(rows * 384), 5));
      const std::vector<float> expected = Expected(p, test::FromBf16(x), rows);
      CHECK(test::RelativeError(OnGpu(p, x, rows), expected) < 1e-5);
    }
  }
}

TEST_CASE("FP8 products take any number of outputs and columns by 16", "[gpu][matmul][fp8]") {
  const Product p = RandomProduct(37, 144, true, true, true);
  const std::vector<uint16_t> x = test::ToBf16(RandomFloats(2 * 144, 6));
  // Rows of 144 bytes begin inside sectors.
  CHECK(test::RelativeError(OnGpu(p, x, 2, 0.4), Expected(p, test::FromBf16(x), 2)) < 1e-5);
}

TEST_CASE("A row of an FP8 product has the same bits whatever its company", "[gpu][matmul][fp8]") {
  const Product p = RandomProduct(32, 1280, true, true, true);
  const std::vector<uint16_t> x = test::ToBf16(RandomFloats(18 * 1280, 7));
  const std::vector<float> all = OnGpu(p, x, 18);
  for (const int64_t rows : {1, 8, 9}) {
    const std::vector<uint16_t> some(x.begin(), x.begin() + rows * 1280);
    const std::vector<float> found = OnGpu(p, some, rows);
    CHECK(std::equal(found.begin(), found.end(), all.begin()));
  }
}

TEST_CASE("FP8 products of many rows have the bits of the skinny ones", "[gpu][matmul][fp8]") {
  for (const auto& [outputs, cols] : {std::pair<int64_t, int64_t>{141, 1296}, {37, 144}}) {
    const Product p = RandomProduct(outputs, cols, true, true, true);
    const std::vector<uint16_t> x = test::ToBf16(RandomFloats(static_cast<size_t>(21 * cols), 7));
    CHECK(OnGpu(p, x, 21, 0.4, Kernel::kTiled) == OnGpu(p, x, 21, 0.4));
  }
  const Product p = RandomProduct(64, 512, true, true, true);
  (void)OnGpu(p, test::ToBf16(RandomFloats(32 * 512, 7)), 32, 0.95, Kernel::kTiled);
}

}  // namespace
}  // namespace weft
