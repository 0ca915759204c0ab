// Skinny matrix products on the GPU: out[r][n] = sum over k of x[r][k] * w[n][k] + bias[n] for a
// few rows r, where reading the weights is the cost. They are read once per 16 rows of x, straight
// from the file's blocks (or bf16), and multiplied by mma.sync m16n8k16: 16 outputs by 8 rows of x.
//
// A block computes 16 outputs. Its eight warps take slices of K in turn (warp w slices w, w + 8,
// ..), each with its own sums; warps are added in ascending order at the end. The order of every
// sum depends on K and the format alone, so a row's bits do not depend on its company.
//   blocks: quantised codes are exact in bf16; per 16 or 32 columns an integer-valued dot product,
//           then scaled in fp32. The only rounding of the input is x's, to bf16.
//   bf16:   products are exact, sums fp32.
//
// A slice of 144, 136 or 210 bytes (Q4_0 and Q4_K, Q8_0, Q6_K) begins and ends inside a 32-byte
// sector, whose other part the neighbouring slice's warp reads again, from L1 or L2; copies of 16
// bytes leave out the half that a slice does not need. Q4_1's and bf16's slices are whole sectors.
//
// A mixture of experts is the same product: rows are sorted by expert (expert_gpu.h), and a block
// takes a tile of rows of one expert with that expert's weights.
//
// Bytes: outputs * row_bytes + blocks * x + rows * outputs * 4; x (2 bytes an element) is read once
// per block and comes from L2.
#pragma once

#include <cstdint>

#include "libs/ops/gpu_launch.h"
#include "libs/tensor/dtype.h"

namespace weft::gpu {

// Successive rows of one expert; none: nothing to do.
struct alignas(16) ExpertTile {
  int32_t expert = 0;
  int32_t first = 0;
  int32_t rows = 0;
  int32_t unused = 0;
};
struct ExpertTiles {
  const ExpertTile* tiles = nullptr;  // [count]; null: one matrix for all rows
  int32_t count = 0;
  int32_t tile_rows = 0;  // the most of a tile: 16 for SkinnyMatmul
  int64_t bytes = 0;      // from one expert's weights to the next's: a multiple of 16
};

struct SkinnyParams {
  const uint8_t* weights = nullptr;  // [outputs][row_bytes], 16-byte aligned
  const uint16_t* x = nullptr;       // bf16 [rows, cols], 16-byte aligned
  const float* bias = nullptr;       // [outputs] or null
  float* out = nullptr;              // [rows, outputs]
  int64_t outputs = 0;
  int64_t cols = 0;  // a multiple of the type's block; of 32 for bf16
  int64_t row_bytes = 0;
  int32_t rows = 0;
  ExpertTiles experts = {};
};

// Types that SkinnyMatmul reads: BF16 Q4_0 Q4_1 Q8_0 Q4_K Q6_K.
bool CanMultiply(DType type);

LaunchResult SkinnyMatmul(DType type, const SkinnyParams& params, void* stream);

}  // namespace weft::gpu
