// Products on the shapes of an 8B model: every format's kernels of few and of many rows.
#include "bench/gpu/kernel_cases.h"
#include "libs/ops/matmul_fp8_gpu.h"
#include "libs/ops/matmul_fp8_wgmma_gpu.h"
#include "libs/ops/matmul_gpu.h"
#include "libs/ops/matmul_tiled_gpu.h"
#include "libs/ops/matmul_wgmma_gpu.h"
#include "libs/tensor/storage.h"

namespace weft::bench {
namespace {

struct Shape {
  int64_t outputs, cols;
};

std::vector<Shape> Shapes(const KernelCases& cases) {
  if (cases.small()) return {{64, 256}};
  return {{4096, 4096}, {14'336, 4096}, {4096, 14'336}, {128'256, 4096}};
}
std::vector<int32_t> RowCounts(const KernelCases& cases) {
  if (cases.small()) return {3, 20};
  return {1, 4, 16, 64, 256, 1024};
}

// One shape, format and number of rows, by every kernel that takes it.
absl::Status BlocksCase(KernelCases& cases, DType type, const Shape& shape, int32_t rows,
                        const std::vector<DeviceBuffer>& weights) {
  const auto& [outputs, cols] = shape;
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer x, cases.Random(static_cast<uint64_t>(rows * cols) * 2));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer out,
                        cases.Room(static_cast<uint64_t>(rows * outputs) * 4));
  gpu::SkinnyParams params{.x = static_cast<const uint16_t*>(x.get()),
                           .out = static_cast<float*>(out.get()),
                           .outputs = outputs,
                           .cols = cols,
                           .row_bytes = static_cast<int64_t>(*BytesFor(type, cols)),
                           .rows = rows};
  const auto run = [&](const char* kernel, const auto& launch) {
    return cases.Case(
        fmt::format("{} {}", kernel, Name(type)),
        fmt::format("{} x {}, {} rows", outputs, cols, rows),
        *BytesFor(type, outputs * cols) + static_cast<uint64_t>(rows * (cols * 2 + outputs * 4)),
        [&](int32_t i) {
          params.weights = KernelCases::At<const uint8_t>(weights, i);
          return launch();
        },
        2.0 * static_cast<double>(outputs * cols) * rows, Unit::kBf16);
  };
  if (rows <= 16) {
    return run("matmul", [&] { return gpu::SkinnyMatmul(type, params, cases.stream()); });
  }
  WEFT_RETURN_IF_ERROR(run("tiled exact", [&] {
    return gpu::TiledMatmul(type, gpu::Numerics::kExact, params, cases.stream());
  }));
  if (type == DType::kBF16) {
    if (!cases.hopper() || !gpu::CanMultiplyByWgmma(type, params)) return absl::OkStatus();
    return run("wgmma", [&] { return gpu::WgmmaMatmul(params, cases.stream()); });
  }
  return run("tiled fast",
             [&] { return gpu::TiledMatmul(type, gpu::Numerics::kFast, params, cases.stream()); });
}

// FP8 weights with scales of blocks: on bf16 activations, and of many rows on FP8 ones.
absl::Status Fp8Case(KernelCases& cases, const Shape& shape, int32_t rows,
                     const std::vector<DeviceBuffer>& weights) {
  const auto& [outputs, cols] = shape;
  const int64_t groups = cols / gpu::kFp8Group;
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer x, cases.Random(static_cast<uint64_t>(rows * cols) * 2));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer codes,
                        cases.Random(static_cast<uint64_t>(rows * cols), DType::kF8E4M3));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer x_scales,
                        cases.Floats(static_cast<uint64_t>(rows * groups)));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer scales,
                        cases.Floats(static_cast<uint64_t>((outputs + 127) / 128 * groups)));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer out,
                        cases.Room(static_cast<uint64_t>(rows * outputs) * 4));
  gpu::SkinnyFp8Params params{.block = static_cast<const float*>(scales.get()),
                              .x = static_cast<const uint16_t*>(x.get()),
                              .out = static_cast<float*>(out.get()),
                              .outputs = outputs,
                              .cols = cols,
                              .rows = rows};
  const auto run = [&](const char* kernel, int64_t x_bytes, Unit unit, const auto& launch) {
    return cases.Case(
        kernel, fmt::format("{} x {}, {} rows", outputs, cols, rows),
        static_cast<uint64_t>(outputs * cols + rows * (cols * x_bytes + outputs * 4)),
        [&](int32_t i) {
          params.weights = KernelCases::At<const uint8_t>(weights, i);
          return launch();
        },
        2.0 * static_cast<double>(outputs * cols) * rows, unit);
  };
  if (rows <= 16) {
    return run("matmul FP8", 2, Unit::kBf16,
               [&] { return gpu::SkinnyFp8(params, cases.stream()); });
  }
  WEFT_RETURN_IF_ERROR(
      run("tiled FP8", 2, Unit::kBf16, [&] { return gpu::TiledFp8(params, cases.stream()); }));
  if (!cases.hopper()) return absl::OkStatus();
  return run("wgmma FP8 by FP8", 1, Unit::kFp8, [&] {
    return gpu::WgmmaFp8(
        {params, {static_cast<uint8_t*>(codes.get()), static_cast<float*>(x_scales.get()), 0}},
        cases.stream());
  });
}

}  // namespace

absl::Status ProductCases(KernelCases& cases) {
  for (const DType type : {DType::kBF16, DType::kF8E4M3, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1,
                           DType::kQ4_K, DType::kQ6_K}) {
    for (const Shape& shape : Shapes(cases)) {
      WEFT_ASSIGN_OR_RETURN(const std::vector<DeviceBuffer> weights,
                            cases.Copies(*BytesFor(type, shape.outputs * shape.cols), type));
      for (const int32_t rows : RowCounts(cases)) {
        WEFT_RETURN_IF_ERROR(type == DType::kF8E4M3
                                 ? Fp8Case(cases, shape, rows, weights)
                                 : BlocksCase(cases, type, shape, rows, weights));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace weft::bench
