// Matrix products of FP8 (e4m3) weights and FP8 activations on Hopper's warpgroup tensor cores, for
// many rows and Numerics::kFast; what matmul_fp8_gpu.h computes, with quantize_gpu.h's activations
// in place of bf16:
//   out[r][n] = channel[n] * sum over slices s of x_scale[r][s] * block[n / 128][s] *
//               sum over k of slice s of x[r][k] * w[n][k], + bias[n]
// A slice is 128 columns. x_scale is of a slice or of the row; channel or block may be absent (1).
//
// As matmul_wgmma_gpu.h: 128 rows by 128 outputs a block, a producer thread with TMA four stages
// ahead, two consumer warpgroups with wgmma m64n128k32. The tensor cores keep fewer bits of a sum
// of FP8 products than fp32 has, so each slice's sum goes into fp32 registers, where the scales are
// (as DeepSeek-V3, https://arxiv.org/abs/2412.19437, section 3.3.2); the next slice's begins
// meanwhile in a second set of accumulators.
//
// Sums go through K in ascending order whatever the rows: a row has the same bits in every batch.
//
// Bytes: rows * cols + outputs * cols, of which all but the first read of each tile come from L2,
// and rows * outputs * 4. Operations: 2 * rows * outputs * cols.
#pragma once

#include "libs/ops/gpu_launch.h"
#include "libs/ops/matmul_fp8_gpu.h"
#include "libs/ops/quantize_gpu.h"

namespace weft::gpu {

struct WgmmaFp8Params {
  SkinnyFp8Params product;  // its x is not read
  Fp8Out x;                 // [rows, cols]
};

// What the launcher takes: one matrix, columns by 16, an even number of outputs. The device must be
// of compute capability 9.0.
bool CanMultiplyFp8ByWgmma(const SkinnyFp8Params& params);
LaunchResult WgmmaFp8(const WgmmaFp8Params& params, void* stream);

}  // namespace weft::gpu
