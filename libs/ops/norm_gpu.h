// Residual sum and norm on the GPU: the op add_norm of op_table.h.
//
//   x[s]   += delta_scale * d       d = delta[s], or norm(delta[s]) where it has a norm of its own
//   out[r]  = norm(x[s])            s = source[r], or r
//   RMS:    norm(v) = v / sqrt(mean(v^2) + eps) * weight
//   layer:  norm(v) = (v - mean(v)) / sqrt(mean((v - mean(v))^2) + eps) * weight + bias
//
// One block a row; a row stays in registers between its sums, so that memory is touched once:
// bytes = rows * width * (4 x read + 4 delta read + 4 x written + 4 out + 2 out_bf16 + 1 fp8), less
// what is null. The FP8 form (quantize_gpu.h) is made of the fp32 values, not of the bf16.
// The order of a sum depends on the width alone.
#pragma once

#include <cstdint>

#include "libs/ops/gpu_launch.h"
#include "libs/ops/quantize_gpu.h"

namespace weft::gpu {

struct AddNormParams {
  float* x = nullptr;            // [.., width], 16-byte aligned like all rows here
  const float* delta = nullptr;  // [.., width] or null
  const float* delta_weight = nullptr;
  const float* delta_bias = nullptr;
  const float* weight = nullptr;
  const float* bias = nullptr;
  const int32_t* source = nullptr;  // [rows] or null
  float* out = nullptr;             // [rows, width] or null
  uint16_t* out_bf16 = nullptr;     // [rows, width] or null
  Fp8Out fp8 = {};                  // or not
  float delta_scale = 1;
  float eps = 0;
  int32_t rows = 0;
  int32_t width = 0;
  int32_t layer = 0;     // 1: a layer norm
  int64_t x_stride = 0;  // of x's rows, a multiple of 4; 0: width
};

// What AddNorm takes: a multiple of 4 up to this.
constexpr int32_t kMaxNormWidth = 16384;

// No launch without rows.
LaunchResult AddNorm(const AddNormParams& params, void* stream);

}  // namespace weft::gpu
