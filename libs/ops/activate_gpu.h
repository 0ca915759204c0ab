// Gated activations on the GPU: the op activate of op_table.h.
//
//   out[i] = f(gate[i]) * up[i], or f(up[i]) without a gate
//   SiLU:  x / (1 + e^-x)        GELU (tanh): 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
//   GELU:  0.5 x (1 + erf(x / sqrt(2)))
//
// Bytes: elements * (4 gate + 4 up + 4 out + 2 out_bf16 + 1 fp8), less what is null; where an FP8
// group is a row, gate and up are read twice, from L2 then. The FP8 form (quantize_gpu.h) is made
// of the fp32 values.
#pragma once

#include <cstdint>

#include "libs/ops/gpu_launch.h"
#include "libs/ops/op_kinds.h"
#include "libs/ops/quantize_gpu.h"

namespace weft::gpu {

struct ActivateParams {
  const float* gate = nullptr;  // or null; all 16-byte aligned
  const float* up = nullptr;
  float* out = nullptr;          // or null
  uint16_t* out_bf16 = nullptr;  // or null
  Fp8Out fp8 = {};               // or not
  int64_t elements = 0;          // a multiple of 4
  int32_t width = 0;             // of a row; needed for fp8
  Activation kind = Activation::kSilu;
};
LaunchResult Activate(const ActivateParams& params, void* stream);

// x = softcap(scale * x), the op scale_and_cap. Bytes: elements * 8.
struct ScaleAndCapParams {
  float* x = nullptr;  // 16-byte aligned
  int64_t elements = 0;
  float scale = 1;
  float softcap = 0;  // 0: none
};
LaunchResult ScaleAndCap(const ScaleAndCapParams& params, void* stream);

}  // namespace weft::gpu
