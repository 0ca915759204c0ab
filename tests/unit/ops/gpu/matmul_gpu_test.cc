#include "libs/ops/matmul_gpu.h"

#include "libs/ops/matmul_tiled_gpu.h"
#include "libs/ops/matmul_wgmma_gpu.h"
#include "tests/unit/ops/gpu/rig.h"

namespace weft {
namespace {

using test::RandomFloats;

constexpr DType kTypes[] = {DType::kBF16, DType::kQ4_0, DType::kQ4_1,
                            DType::kQ8_0, DType::kQ4_K, DType::kQ6_K};

struct Product {
  Product(DType type, int64_t outputs, int64_t cols, size_t rows)
      : weight(type, outputs, cols, 7),
        x(test::ToBf16(RandomFloats(rows * static_cast<size_t>(cols), 8))),
        bias(RandomFloats(static_cast<size_t>(outputs), 9)) {}

  // Of the first `rows` rows.
  std::vector<float> OnGpu(size_t rows) {
    const Weight& w = weight.weight;
    const auto bytes = rig.Put(weight.bytes);
    const auto gpu_x =
        rig.Put(std::vector<uint16_t>(x.begin(), x.begin() + static_cast<int64_t>(rows) * w.cols));
    const auto gpu_bias = rig.Put(bias);
    const auto out = rig.Room<float>(rows * static_cast<size_t>(w.rows));
    rig.Run(gpu::SkinnyMatmul(w.type,
                              {.weights = bytes.get(),
                               .x = gpu_x.get(),
                               .bias = gpu_bias.get(),
                               .out = out.get(),
                               .outputs = w.rows,
                               .cols = w.cols,
                               .row_bytes = static_cast<int64_t>(*BytesFor(w.type, w.cols)),
                               .rows = static_cast<int32_t>(rows)},
                              rig.stream()));
    return rig.Get(out);
  }

  // The same by the kernels of many rows.
  std::vector<float> Tiled(size_t rows, gpu::Numerics numerics, double coalesced = 0) {
    const Weight& w = weight.weight;
    const auto bytes = rig.Put(weight.bytes);
    const auto gpu_x =
        rig.Put(std::vector<uint16_t>(x.begin(), x.begin() + static_cast<int64_t>(rows) * w.cols));
    const auto gpu_bias = rig.Put(bias);
    const auto out = rig.Room<float>(rows * static_cast<size_t>(w.rows));
    rig.Run(gpu::TiledMatmul(w.type, numerics,
                             {.weights = bytes.get(),
                              .x = gpu_x.get(),
                              .bias = gpu_bias.get(),
                              .out = out.get(),
                              .outputs = w.rows,
                              .cols = w.cols,
                              .row_bytes = static_cast<int64_t>(*BytesFor(w.type, w.cols)),
                              .rows = static_cast<int32_t>(rows)},
                             rig.stream()));
    if (coalesced > 0) test::RequireCost(coalesced);
    return rig.Get(out);
  }

  std::vector<float> OnRef(size_t rows) {
    std::vector<float> values = test::FromBf16(x);
    std::vector<float> out(rows * static_cast<size_t>(weight.weight.rows));
    test::RefContext ref;
    const LinearArgs::Output output{&weight.weight, out.data(), bias.data()};
    LinearArgs args{.input = {}, .rows = static_cast<int64_t>(rows), .outputs = {&output, 1}};
    args.input.data = values.data();
    args.input.width = weight.weight.cols;
    RefOps().linear(args, ref.context);
    return out;
  }

  test::Rig rig;
  test::RawWeight weight;
  std::vector<uint16_t> x;
  std::vector<float> bias;
};

TEST_CASE("Skinny products of every weight format are the oracle's", "[gpu][matmul]") {
  for (const DType type : kTypes) {
    const int64_t block = std::max<int64_t>(32, BlockSize(type));
    for (const int64_t cols : {block, 9 * block, int64_t{2048} + block}) {
      INFO(Name(type) << " [37, " << cols << "]");
      Product product(type, 37, cols, 3);
      REQUIRE(test::RelativeError(product.OnGpu(3), product.OnRef(3)) < 1e-5);
    }
  }
}

TEST_CASE("A row's product has the same bits in every batch", "[gpu][matmul]") {
  for (const DType type : kTypes) {
    INFO(Name(type));
    constexpr size_t kMost = 18;
    constexpr size_t kOutputs = 24;
    Product product(type, kOutputs, 768, kMost);
    const std::vector<float> all = product.OnGpu(kMost);
    for (const size_t rows : {1, 8, 9, 16}) {
      const std::vector<float> some = product.OnGpu(rows);
      REQUIRE(std::memcmp(some.data(), all.data(), rows * kOutputs * 4) == 0);
    }
  }
}

// Columns in more than one round of all chains, the last slice not whole.
int64_t ManyColumns(DType type) {
  const int64_t block = std::max<int64_t>(32, BlockSize(type));
  const int64_t slice = type == DType::kBF16 || type == DType::kQ8_0 ? 128 : 256;
  return 9 * slice + (block < slice ? block : 0);
}

TEST_CASE("Products of many rows have the bits of the skinny ones", "[gpu][matmul][tiled]") {
  for (const DType type : kTypes) {
    const size_t rows = type == DType::kBF16 ? 70 : 21;
    INFO(Name(type));
    Product product(type, 37, ManyColumns(type), rows);
    const std::vector<float> expected = product.OnGpu(rows);
    REQUIRE(test::SameBits(product.Tiled(rows, gpu::Numerics::kExact), expected));
    REQUIRE(test::RelativeError(product.Tiled(rows, gpu::Numerics::kFast), expected) < 3e-3);
  }
}

TEST_CASE("Products of many rows cover every tile of outputs and rows", "[gpu][matmul][tiled]") {
  for (const auto& [type, rows] : {std::pair{DType::kBF16, 130}, {DType::kQ4_1, 66}}) {
    Product product(type, 141, 64, static_cast<size_t>(rows));
    const auto n = static_cast<size_t>(rows);
    REQUIRE(test::SameBits(product.Tiled(n, gpu::Numerics::kExact), product.OnGpu(n)));
  }
}

TEST_CASE("Products by warpgroups are the oracle's, in every batch the same",
          "[gpu][matmul][wgmma]") {
  constexpr size_t kRows = 130;
  Product product(DType::kBF16, 136, 352, kRows);
  const auto run = [&](size_t rows) {
    const auto bytes = product.rig.Put(product.weight.bytes);
    const auto x = product.rig.Put(std::vector<uint16_t>(
        product.x.begin(), product.x.begin() + static_cast<int64_t>(rows) * 352));
    const auto bias = product.rig.Put(product.bias);
    const auto out = product.rig.Room<float>(rows * 136);
    product.rig.Run(gpu::WgmmaMatmul({.weights = bytes.get(),
                                      .x = x.get(),
                                      .bias = bias.get(),
                                      .out = out.get(),
                                      .outputs = 136,
                                      .cols = 352,
                                      .row_bytes = 704,
                                      .rows = static_cast<int32_t>(rows)},
                                     product.rig.stream()));
    test::RequireCost(0.95);
    return product.rig.Get(out);
  };
  const std::vector<float> all = run(kRows);
  REQUIRE(test::RelativeError(all, product.OnRef(kRows)) < 1e-5);
  const std::vector<float> some = run(3);
  REQUIRE(std::equal(some.begin(), some.end(), all.begin()));
}

TEST_CASE("Weights are read in whole sectors and without bank conflicts", "[gpu][matmul]") {
  for (const DType type : kTypes) {
    INFO(Name(type));
    Product product(type, 32, 4096, 1);
    (void)product.OnGpu(1);
    test::RequireCost(0.95);
    Product many(type, 64, 4096, 32);
    (void)many.Tiled(32, gpu::Numerics::kExact, 0.95);
  }
}

}  // namespace
}  // namespace weft
