// The choice between a product library and the own kernels: what is timed, kept, used and given up.
#include "libs/ops/fast_products.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "libs/device/emulated_device.h"
#include "libs/ops/matmul_gpu.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/ops/gpu/rig.h"

namespace weft {
namespace {

using gpu::FastProducts;
using gpu::ProductAlgorithm;
using gpu::ProductArgs;
using gpu::ProductChoice;
using gpu::ProductChoices;
using gpu::ProductShape;

constexpr int64_t kOutputs = 16, kCols = 32;

// The own kernel's product, at once or after a while: a library that is faster or slower than it.
absl::Status OwnProduct(const ProductShape& shape, const ProductArgs& args, void* stream) {
  return gpu::ToStatus(gpu::SkinnyMatmul(DType::kBF16,
                                         {.weights = static_cast<const uint8_t*>(args.weights),
                                          .x = static_cast<const uint16_t*>(args.x),
                                          .out = args.out,
                                          .outputs = shape.outputs,
                                          .cols = shape.cols,
                                          .row_bytes = shape.cols * 2,
                                          .rows = shape.rows},
                                         stream));
}

// What the library has done and is to do.
struct Plan {
  int launches = 0;
  int asked = 0;
  int each = 1;              // products in one launch: how slow it is
  uint64_t workspace = 256;  // that its algorithms want
  bool refuses = false;
  uint64_t used = 0;  // first word of the algorithm of the latest launch
};
class Library final : public gpu::ProductLibrary {
 public:
  explicit Library(Plan& plan) : plan_(plan) {}
  std::string version() const override { return "test-1"; }
  absl::StatusOr<std::vector<ProductAlgorithm>> Candidates(const ProductShape&, uint64_t) override {
    ++plan_.asked;
    return std::vector<ProductAlgorithm>{{{7}, plan_.workspace}, {{8}, uint64_t{1} << 40}};
  }
  absl::Status Launch(const ProductShape& shape, const ProductArgs& args,
                      const ProductAlgorithm& algorithm, void* workspace, void* stream) override {
    ++plan_.launches;
    plan_.used = algorithm.bits[0];
    if (plan_.refuses) return Internal("not supported");
    if (workspace == nullptr) return Internal("no workspace");
    for (int i = 0; i < plan_.each; ++i) WEFT_RETURN_IF_ERROR(OwnProduct(shape, args, stream));
    return absl::OkStatus();
  }

 private:
  Plan& plan_;
};

struct Bench {
  explicit Bench(std::string cache = "")
      : weights(rig.Put(test::ToBf16(test::RandomFloats(kOutputs * kCols, 1)))),
        products(rig.device(), std::make_unique<Library>(plan), Options(std::move(cache))) {
    products.Add(DType::kBF16, kOutputs, kCols, {.weights = weights.get()});
  }
  static FastProducts::Options Options(std::string cache) {
    return {.cache_path = std::move(cache), .workspace = 4096, .repeats = 3};
  }
  // `slow`: how many products one launch of the own kernel is.
  absl::Status Choose(int32_t rows, int slow) {
    return products.Choose(
        rows,
        [this, slow](const ProductShape& shape, const ProductArgs& args) -> absl::Status {
          ++own;
          for (int i = 0; i < slow; ++i)
            WEFT_RETURN_IF_ERROR(OwnProduct(shape, args, rig.stream()));
          return absl::OkStatus();
        },
        static_cast<StreamHandle>(rig.stream()));
  }
  bool Multiply(int32_t rows) {
    const auto count = static_cast<size_t>(rows);
    const auto x = rig.Put(test::ToBf16(test::RandomFloats(count * kCols, 2)));
    const auto out = rig.Room<float>(count * kOutputs);
    return products.Multiply({DType::kBF16, kOutputs, kCols, rows},
                             {.weights = weights.get(), .x = x.get(), .out = out.get()},
                             static_cast<StreamHandle>(rig.stream())) &&
           rig.Get(out).size() == out.count;
  }

  Plan plan;
  int own = 0;
  test::Rig rig;
  test::OnDevice<uint16_t> weights;
  FastProducts products;
};

TEST_CASE("The library computes what it was faster at, the own kernel the rest",
          "[gpu][products]") {
  Bench faster;
  REQUIRE(faster.Choose(40, /*slow=*/8).ok());
  CHECK(faster.products.stats().timed == 2);  // 32 and 64 rows
  CHECK(faster.products.stats().library == 2);
  CHECK(faster.Multiply(17));
  CHECK(faster.Multiply(64));
  CHECK(faster.plan.used == 7);      // the other way wants more workspace than there is
  CHECK_FALSE(faster.Multiply(65));  // never chosen for so many
  Bench slower;
  slower.plan.each = 8;
  REQUIRE(slower.Choose(32, /*slow=*/1).ok());
  CHECK(slower.products.stats().timed == 1);
  CHECK(slower.products.stats().library == 0);
  CHECK_FALSE(slower.Multiply(20));
}

TEST_CASE("A library that refuses a shape is not asked for it again", "[gpu][products]") {
  Bench bench;
  REQUIRE(bench.Choose(32, 8).ok());
  bench.plan.refuses = true;
  const int before = bench.plan.launches;
  CHECK_FALSE(bench.Multiply(20));
  CHECK_FALSE(bench.Multiply(20));
  CHECK(bench.plan.launches == before + 1);
  Bench never;
  never.plan.refuses = true;
  REQUIRE(never.Choose(32, 8).ok());
  CHECK(never.products.stats().library == 0);
}

TEST_CASE("Choices are kept in a file, and nothing is timed twice", "[gpu][products]") {
  const test::TempDir folder;
  const std::string path = folder.path() + "/products";
  Bench first(path);
  REQUIRE(first.Choose(64, 8).ok());
  REQUIRE(first.products.stats().timed == 2);
  Bench second(path);
  REQUIRE(second.Choose(128, 8).ok());
  CHECK(second.products.stats().known == 2);
  CHECK(second.products.stats().timed == 1);
  CHECK(second.Multiply(33));
  // A damaged file is said, and replaced.
  std::ofstream(path) << "weft products 1\nnothing of it\n";
  Bench third(path);
  const absl::Status status = third.Choose(32, 8);
  CHECK_THAT(ToString(status), ContainsSubstring("line 2"));
  CHECK(third.products.stats().library == 1);
  Bench fourth(path);
  REQUIRE(fourth.Choose(32, 8).ok());
  CHECK(fourth.products.stats().known == 1);
}

TEST_CASE("A file of choices is read as it was written, and a bad field is named",
          "[gpu][products]") {
  ProductChoices choices;
  const ProductShape shape{DType::kF8E4M3, 4096, 14336, 512};
  const ProductChoice choice{.library = true,
                             .algorithm = {{1, ~uint64_t{0}, 3}, 1 << 20},
                             .microseconds = 12.5,
                             .own_microseconds = 14.25};
  choices.Set("NVIDIA\tH200", "cublasLt-130100", shape, choice);
  choices.Set("NVIDIA H200", "cublasLt-130100", {DType::kBF16, 1, 1, 32}, {});
  const std::string text = choices.Format();
  const absl::StatusOr<ProductChoices> again = ProductChoices::Parse(text);
  REQUIRE(again.ok());
  CHECK(again->Format() == text);
  REQUIRE(again->Find("NVIDIA H200", "cublasLt-130100", shape) != nullptr);
  CHECK(*again->Find("NVIDIA H200", "cublasLt-130100", shape) == choice);
  CHECK(again->Find("NVIDIA H100", "cublasLt-130100", shape) == nullptr);
  CHECK(again->Find("NVIDIA H200", "cublasLt-130200", shape) == nullptr);
  for (size_t cut = 0; cut < text.size(); ++cut) (void)ProductChoices::Parse(text.substr(0, cut));
  const auto fails = [&](std::string_view from, std::string_view to, std::string_view says) {
    std::string bad = text;
    bad.replace(bad.find(from), from.size(), to);
    INFO(says);
    CHECK_THAT(ToString(ProductChoices::Parse(bad).status()), ContainsSubstring(std::string(says)));
  };
  fails("weft products 1", "weft products 2", "line 1");
  fails("\t512\t", "\t0\t", "field 6: '0'");
  fails("\t512\t", "\t512x\t", "field 6: '512x'");
  fails("F8_E4M3", "F8_E5M2", "field 3");
  fails("library", "perhaps", "field 7: 'perhaps'");
  fails("\t12.5\t", "\tnan\t", "field 10");
  fails("\t12.5\t14.25", "\t12.5", "10 fields");
}

}  // namespace
}  // namespace weft
