// Matrix products of bf16 on Hopper's warpgroup tensor cores: out[r][n] = sum over k of
// x[r][k] * w[n][k] + bias[n], for many rows and Numerics::kFast.
//
// A block computes 128 rows by 128 outputs. A producer thread copies tiles of 64 columns of both by
// TMA (128-byte swizzle), four stages ahead; two consumer warpgroups multiply 64 rows each by
// wgmma m64n128k16, the next tile's while the one before is given back. A stage has two mbarriers:
// full (the bytes are there) and empty (all eight consumer warps are done). Warp specialisation:
// CUTLASS's documentation of it; PTX ISA 8.8, "wgmma".
//
// Sums go through K in ascending order whatever the rows: a row has the same bits in every batch
// here too, but not the skinny products'.
//
// Bytes: as matmul_tiled_gpu.h, with 128 rows. Operations: 2 * rows * outputs * cols.
#pragma once

#include "libs/ops/gpu_launch.h"
#include "libs/ops/matmul_gpu.h"

namespace weft::gpu {

// What the launcher takes: bf16, one matrix, whole 16 bytes a row, an even number of outputs. The
// device must be of compute capability 9.0.
bool CanMultiplyByWgmma(DType type, const SkinnyParams& params);
LaunchResult WgmmaMatmul(const SkinnyParams& params, void* stream);

}  // namespace weft::gpu
