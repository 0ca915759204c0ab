// Skinny matrix products with FP8 (e4m3) weights on the GPU:
//   out[r][n] = channel[n] * sum over slices s of block[n / 128][s] * sum over k of slice s of
//               x[r][k] * w[n][k], + bias[n]
// A slice is 128 columns; either kind of scales may be absent (1).
//
// As matmul_gpu.h's product of bf16: a block computes 16 outputs, its eight warps take slices in
// turn and are added ascending, so that a row's bits do not depend on its company. Codes become
// bf16 in registers, exactly; products are exact and sums fp32: the only rounding of the input is
// x's, to bf16.
//
// Bytes: outputs * cols + scales + blocks * x + rows * outputs * 4; x comes from L2 after its first
// read.
#pragma once

#include <cstdint>

#include "libs/ops/gpu_launch.h"
#include "libs/ops/matmul_gpu.h"

namespace weft::gpu {

struct SkinnyFp8Params {
  const uint8_t* weights = nullptr;  // e4m3 [outputs][cols], 16-byte aligned
  const float* channel = nullptr;    // [outputs] or null
  const float* block = nullptr;      // [(outputs + 127) / 128][(cols + 127) / 128] or null
  const uint16_t* x = nullptr;       // bf16 [rows, cols], 16-byte aligned
  const float* bias = nullptr;       // [outputs] or null
  float* out = nullptr;              // [rows, outputs]
  int64_t outputs = 0;
  int64_t cols = 0;  // a multiple of 16
  int32_t rows = 0;
  ExpertTiles experts = {};  // their scales follow at the same distance as their weights
};

LaunchResult SkinnyFp8(const SkinnyFp8Params& params, void* stream);

}  // namespace weft::gpu
