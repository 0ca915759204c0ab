// Kernels that go through rows once: norms and activations, with and without their FP8 form, and
// what is made of logits.
#include "bench/gpu/kernel_cases.h"
#include "libs/ops/activate_gpu.h"
#include "libs/ops/logit_parts_gpu.h"
#include "libs/ops/norm_gpu.h"
#include "libs/ops/quantize_gpu.h"
#include "libs/ops/sample_gpu.h"

namespace weft::bench {
namespace {

absl::Status Activations(KernelCases& cases, int32_t rows) {
  const int32_t width = cases.small() ? 128 : 4096;
  const auto count = static_cast<uint64_t>(rows) * static_cast<uint64_t>(width);
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer x, cases.Floats(count));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer delta, cases.Floats(count));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer weight, cases.Floats(static_cast<uint64_t>(width)));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer out, cases.Room(count * 2));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer codes, cases.Room(count));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer scales, cases.Room(count / gpu::kFp8Group * 4));
  const std::string shape = fmt::format("{} x {}", rows, width);
  for (const bool fp8 : {false, true}) {
    const gpu::Fp8Out form =
        fp8 ? gpu::Fp8Out{static_cast<uint8_t*>(codes.get()), static_cast<float*>(scales.get()), 0}
            : gpu::Fp8Out{};
    const uint64_t more = fp8 ? count + count / gpu::kFp8Group * 4 : 0;
    WEFT_RETURN_IF_ERROR(
        cases.Case(fp8 ? "add norm and FP8" : "add norm", shape, count * 14 + more, [&](int32_t) {
          return gpu::AddNorm({.x = static_cast<float*>(x.get()),
                               .delta = static_cast<const float*>(delta.get()),
                               .weight = static_cast<const float*>(weight.get()),
                               .out_bf16 = static_cast<uint16_t*>(out.get()),
                               .fp8 = form,
                               .delta_scale = 1e-3f,
                               .eps = 1e-5f,
                               .rows = rows,
                               .width = width},
                              cases.stream());
        }));
    WEFT_RETURN_IF_ERROR(
        cases.Case(fp8 ? "activate and FP8" : "activate", shape, count * 10 + more, [&](int32_t) {
          return gpu::Activate({.gate = static_cast<const float*>(x.get()),
                                .up = static_cast<const float*>(delta.get()),
                                .out_bf16 = static_cast<uint16_t*>(out.get()),
                                .fp8 = form,
                                .elements = static_cast<int64_t>(count),
                                .width = width},
                               cases.stream());
        }));
    if (!fp8) continue;
    WEFT_RETURN_IF_ERROR(cases.Case("quantize FP8", shape, count * 2 + more, [&](int32_t) {
      return gpu::QuantizeFp8(
          {.x = static_cast<const uint16_t*>(out.get()), .out = form, .rows = rows, .width = width},
          cases.stream());
    }));
  }
  return absl::OkStatus();
}

absl::Status Logits(KernelCases& cases, int32_t rows) {
  const int32_t vocab = cases.small() ? 500 : 128'256;
  const auto count = static_cast<uint64_t>(rows);
  const uint64_t bytes = count * static_cast<uint64_t>(vocab) * 4;
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer logits, cases.Floats(bytes / 4));
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer tokens, cases.Room(count * 4));
  const std::string shape = fmt::format("{} x {}", rows, vocab);
  for (const bool greedy : {true, false}) {
    gpu::SampleRow row{.seed = 7, .temperature = greedy ? 0.0f : 0.8f};
    if (!greedy) row.top_p = 0.95f, row.top_k = 50;
    WEFT_ASSIGN_OR_RETURN(const DeviceBuffer of,
                          cases.Put(std::vector<gpu::SampleRow>(static_cast<size_t>(rows), row)));
    WEFT_RETURN_IF_ERROR(
        cases.Case(greedy ? "sample greedy" : "sample top-k top-p", shape, bytes, [&](int32_t) {
          return gpu::Sample({.logits = static_cast<float*>(logits.get()),
                              .of = static_cast<const gpu::SampleRow*>(of.get()),
                              .tokens = static_cast<int32_t*>(tokens.get()),
                              .rows = rows,
                              .vocab = vocab},
                             cases.stream());
        }));
  }
  WEFT_ASSIGN_OR_RETURN(const DeviceBuffer parts, cases.Room(count * sizeof(gpu::LogitPart)));
  return cases.Case("logit parts", shape, bytes, [&](int32_t) {
    return gpu::LogitParts({.logits = static_cast<const float*>(logits.get()),
                            .parts = static_cast<gpu::LogitPart*>(parts.get()),
                            .rows = rows,
                            .width = vocab},
                           cases.stream());
  });
}

}  // namespace

absl::Status RowCases(KernelCases& cases) {
  const std::vector<int32_t> few = {2};
  for (const int32_t rows : cases.small() ? few : std::vector<int32_t>{1, 64, 512}) {
    WEFT_RETURN_IF_ERROR(Activations(cases, rows));
  }
  for (const int32_t rows : cases.small() ? few : std::vector<int32_t>{1, 16, 64, 256}) {
    WEFT_RETURN_IF_ERROR(Logits(cases, rows));
  }
  return absl::OkStatus();
}

}  // namespace weft::bench
