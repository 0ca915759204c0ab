// Matrix products of many rows on the GPU's tensor cores (mma.sync): matmul_gpu.h's and
// matmul_fp8_gpu.h's products, for prefill and large batches.
//
// A block computes 128 outputs of 64 or 128 rows of x; eight warps, 32 outputs each of half of the
// rows. Weights and x come to shared memory a slice of K at a time by cp.async, several slices
// ahead.
//
// Numerics::kExact gives a row the bits that the skinny product gives it. Those add up eight chains
// of slices (chain w has slices w, w + 8, ..), so the slices are taken in that order, and each
// chain's sum is added to the total when it ends. Within a slice the instructions are the same: the
// same m16n8k16 with the weights as A, the same columns in the same places of their fragments.
//   bf16:   chains stay in the accumulators of the mma
//   blocks: per 16 columns an integer-valued dot product, then scaled in fp32
//   FP8:    per 128 columns a dot product of the codes, then scaled in fp32
// Numerics::kFast rounds the weights of blocks to bf16 (scale * code + offset) in registers, and
// leaves all sums to the mma: eight fused multiply-adds a lane fewer for each mma. It is the same
// as kExact for FP8, and for bf16 where matmul_wgmma_gpu.h cannot take over.
//
// Bytes: x * outputs / 128 + weights * rows / 64 or 128, of which all but the first read of each
// come from L2; rows * outputs * 4.
#pragma once

#include "libs/ops/gpu_launch.h"
#include "libs/ops/matmul_fp8_gpu.h"
#include "libs/ops/matmul_gpu.h"

namespace weft::gpu {

// What may depend on how many rows are computed together.
enum class Numerics : int32_t {
  kExact,  // nothing: a row has the same bits in every batch
  kFast,   // rounding
};

// Of one block; ExpertTiles::tile_rows may be this.
constexpr int32_t kTiledRows = 64;

// The types of SkinnyMatmul.
LaunchResult TiledMatmul(DType type, Numerics numerics, const SkinnyParams& params, void* stream);
LaunchResult TiledFp8(const SkinnyFp8Params& params, void* stream);

}  // namespace weft::gpu
