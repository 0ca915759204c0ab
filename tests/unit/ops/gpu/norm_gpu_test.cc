#include "libs/ops/norm_gpu.h"

#include "tests/unit/ops/gpu/rig.h"

namespace weft {
namespace {

using test::RandomFloats;

struct NormCase {
  int64_t width;
  bool layer, delta, delta_norm, choose;
};

void CheckNorm(const NormCase& c) {
  INFO("width " << c.width << " layer " << c.layer << " delta " << c.delta << " delta_norm "
                << c.delta_norm << " source " << c.choose);
  constexpr int64_t kRows = 3;
  const auto width = static_cast<size_t>(c.width);
  const std::vector<float> x = RandomFloats(kRows * width, 1, 3.0f);
  const std::vector<float> delta = RandomFloats(kRows * width, 2, 2.0f);
  const std::vector<float> weight = RandomFloats(width, 3), bias = RandomFloats(width, 4);
  const std::vector<float> delta_weight = RandomFloats(width, 5),
                           delta_bias = RandomFloats(width, 6);
  const std::vector<int32_t> source =
      c.choose ? std::vector<int32_t>{0, 2} : std::vector<int32_t>{};
  const int64_t rows = c.choose ? 2 : kRows;

  // The oracle, on the rows that are asked for.
  std::vector<float> expected_x;
  std::vector<float> own_delta;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t from = (c.choose ? source[static_cast<size_t>(r)] : r) * c.width;
    expected_x.insert(expected_x.end(), x.begin() + from, x.begin() + from + c.width);
    own_delta.insert(own_delta.end(), delta.begin() + from, delta.begin() + from + c.width);
  }
  std::vector<float> expected(expected_x.size());
  test::RefContext ref;
  AddNormArgs args{.x = expected_x.data(),
                   .delta = c.delta ? own_delta.data() : nullptr,
                   .delta_scale = 0.5f,
                   .kind = c.layer ? NormKind::kLayer : NormKind::kRms,
                   .norm = {weight.data(), c.layer ? bias.data() : nullptr},
                   .eps = 1e-5f,
                   .rows = rows,
                   .out = {}};
  if (c.delta_norm) args.delta_norm = {delta_weight.data(), c.layer ? delta_bias.data() : nullptr};
  args.out.data = expected.data();
  args.out.width = c.width;
  RefOps().add_norm(args, ref.context);

  test::Rig rig;
  const auto gpu_x = rig.Put(x);
  const auto gpu_delta = rig.Put(delta);
  const auto w = rig.Put(weight), b = rig.Put(bias), dw = rig.Put(delta_weight),
             db = rig.Put(delta_bias);
  const auto gpu_source = rig.Put(source);
  const auto out = rig.Room<float>(expected.size());
  const auto out_bf16 = rig.Room<uint16_t>(expected.size());
  rig.Run(gpu::AddNorm({.x = gpu_x.get(),
                        .delta = c.delta ? gpu_delta.get() : nullptr,
                        .delta_weight = c.delta_norm ? dw.get() : nullptr,
                        .delta_bias = c.delta_norm && c.layer ? db.get() : nullptr,
                        .weight = w.get(),
                        .bias = c.layer ? b.get() : nullptr,
                        .source = c.choose ? gpu_source.get() : nullptr,
                        .out = out.get(),
                        .out_bf16 = out_bf16.get(),
                        .delta_scale = 0.5f,
                        .eps = 1e-5f,
                        .rows = static_cast<int32_t>(rows),
                        .width = static_cast<int32_t>(c.width),
                        .layer = c.layer ? 1 : 0},
                       rig.stream()));
  test::RequireCost(0.95);
  const std::vector<float> found = rig.Get(out);
  REQUIRE(test::RelativeError(found, expected) < 1e-6);
  REQUIRE(rig.Get(out_bf16) == test::ToBf16(found));
  const std::vector<float> sums = rig.Get(gpu_x);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = (c.choose ? source[static_cast<size_t>(r)] : r) * c.width;
    const std::vector<float> row(sums.begin() + at, sums.begin() + at + c.width);
    const std::vector<float> wanted(expected_x.begin() + r * c.width,
                                    expected_x.begin() + (r + 1) * c.width);
    REQUIRE(test::RelativeError(row, wanted) < 1e-6);
  }
}

TEST_CASE("The GPU's residual sum and norm are the oracle's at every width and kind",
          "[gpu][norm]") {
  for (const int64_t width : {4, 64, 576, 4096, 4100, 8192}) {
    CheckNorm({width, false, true, false, false});
  }
  CheckNorm({576, true, true, false, false});
  CheckNorm({576, false, true, true, false});
  CheckNorm({576, true, true, true, false});
  CheckNorm({576, false, false, false, false});
}

TEST_CASE("A norm of chosen rows leaves the others alone", "[gpu][norm]") {
  CheckNorm({576, false, true, false, true});
}

TEST_CASE("A norm of a width that is not supported is an error with the kernel's name", "[gpu]") {
  const absl::Status status = gpu::ToStatus(gpu::AddNorm({.rows = 1, .width = 6}, nullptr));
  REQUIRE_THAT(ToString(status), ContainsSubstring("kernel add_norm"));
}

}  // namespace
}  // namespace weft
