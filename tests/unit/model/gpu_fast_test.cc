// Whole models with products that round as is quickest (worker.numerics: fast), on the emulator.
#include <cmath>
#include <memory>

#include "libs/device/emulated_device.h"
#include "libs/device/simt/launch.h"
#include "libs/gguf/gguf.h"
#include "libs/ops/gpu_context.h"
#include "tests/support/catch.h"
#include "tests/unit/model/family_goldens.h"
#include "tests/unit/model/gpu_rig.h"
#include "tests/unit/model/sequence_runner.h"
#include "tests/unit/model/tiny_model.h"

namespace weft {
namespace {

TEST_CASE("A model in fast numerics is as near to the oracle, and says that it is another class",
          "[gpu][model][fast]") {
  const DType type = GENERATE(DType::kBF16, DType::kQ4_K, DType::kQ8_0);
  INFO(Name(type));
  test::TinyModel tiny;
  tiny.type = type;
  const auto file = GgufFile::FromBytes(tiny.Bytes()).value();
  ModelOptions options = test::OnGpu();  // also switches the emulator's own checks off
  options.device = GpuContext::Create(std::make_unique<EmulatedDevice>(EmulatedDevice::Options{
                                          .memory_bytes = uint64_t{1} << 30, .lazy = true}),
                                      gpu::Numerics::kFast)
                       .value();
  const auto fast = test::LoadModel(file, options);
  const auto exact = test::LoadModel(file, test::OnGpu());
  const auto ref = test::LoadModel(file, test::Ref());
  CHECK_THAT(fast->numerics_class(), ContainsSubstring("gpu-fast-"));
  CHECK_THAT(exact->numerics_class(), !ContainsSubstring("fast"));
  // Rows enough for the products of many rows, then decode.
  std::vector<int32_t> tokens(70);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 53 % 300);
  const auto distance = [&](Model& model, size_t chunk) {
    const std::vector<float> found = test::LogitsInChunks(model, tokens, chunk, kBlockTokens);
    const std::vector<float> expected =
        test::LogitsInChunks(*ref, tokens, tokens.size(), kBlockTokens);
    REQUIRE(found.size() == expected.size());
    double error = 0, norm = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      error += std::pow(static_cast<double>(found[i]) - expected[i], 2);
      norm += std::pow(static_cast<double>(expected[i]), 2);
    }
    return std::sqrt(error / norm);
  };
  CHECK(distance(*fast, tokens.size()) < 0.015);
  CHECK(distance(*fast, 7) < 0.015);
}

}  // namespace
}  // namespace weft
