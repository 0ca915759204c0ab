// Activations in FP8 (e4m3) with scales of their own, which kernels that make activations write
// beside or in place of bf16, and matmul_fp8_wgmma_gpu.h multiplies by FP8 weights.
//
//   scale = max |x| / 448 over a group (1 where all are 0),   code = e4m3(x * (1 / scale))
//
// A group is 128 columns of a row, for weights with scales of 128 x 128 blocks (DeepSeek-V3,
// https://arxiv.org/abs/2412.19437, section 3.3), or the row, for weights with scales for outputs
// or the tensor ("dynamic, per token" of compressed-tensors checkpoints).
//
// Int8 has no writer: no product here multiplies int8 activations.
#pragma once

#include <cstdint>

#include "libs/ops/gpu_launch.h"

namespace weft::gpu {

constexpr int32_t kFp8Group = 128;
constexpr float kFp8Largest = 448.0f;

struct Fp8Out {
  uint8_t* codes = nullptr;  // [rows, width], 16-byte aligned; null: not wanted
  float* scales = nullptr;   // [rows, width / 128], or [rows]
  int32_t per_row = 0;       // 1: a group is the row; else the width is a multiple of 128
};

// Of activations that another kernel left in bf16: a block per row.
// Bytes: rows * width * 3 and the scales; with per_row the row is read twice, from L2 then.
struct QuantizeParams {
  const uint16_t* x = nullptr;  // bf16 [rows, width], 8-byte aligned
  Fp8Out out;
  int32_t rows = 0;
  int32_t width = 0;  // a multiple of 4
};
LaunchResult QuantizeFp8(const QuantizeParams& params, void* stream);

}  // namespace weft::gpu
