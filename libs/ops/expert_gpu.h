// Mixtures of experts on the GPU: the ops route, permute, gather and combine of op_table.h. The
// experts' products are matmul_gpu.h's.
//
//   route:    p = softmax(logits) or 1 / (1 + e^-logits); the `used` largest of the best groups, a
//             group counting as much as its best expert; weights p, divided by their sum where
//             `normalise`, times `scale`. Shazeer et al., https://arxiv.org/abs/1701.06538;
//             DeepSeek-V2, https://arxiv.org/abs/2405.04434 (groups)
//   permute:  a stable counting sort of the slots (a row's choices) by expert; place[slot] is where
//             a slot is computed
//   gather:   out[place] = x[row_at[place]]
//   combine:  out[r] = base[r] + sum over k, ascending, of weights[r][k] * x[place[r][k]]
//
// Nothing is counted on the host: the grid of an expert's product has room for the worst case
// (MostExpertTiles), and tiles beyond the last hold no rows.
//
// Route takes a warp a row, permute a block an expert, which reads all choices (experts * slots * 4
// bytes, from L2). Bytes: gather slots * width * 4, combine (slots + 2 rows) * width * 4.
#pragma once

#include <algorithm>
#include <cstdint>

#include "libs/ops/gpu_launch.h"
#include "libs/ops/matmul_tiled_gpu.h"
#include "libs/ops/op_kinds.h"

namespace weft::gpu {

// What RouteExperts and PermuteExperts take.
constexpr int32_t kMostExperts = 512;
constexpr int32_t kMostExpertGroups = 32;

struct RouteParams {
  float* logits = nullptr;    // [rows, experts]; become the probabilities
  int32_t* chosen = nullptr;  // [rows, used]
  float* weights = nullptr;   // [rows, used]
  int32_t rows = 0;
  int32_t experts = 0;
  int32_t used = 0;
  int32_t groups = 1;
  int32_t groups_used = 1;
  int32_t normalise = 0;
  float scale = 1;
  ExpertScoring scoring = ExpertScoring::kSoftmax;
};
LaunchResult RouteExperts(const RouteParams& params, void* stream);

// Rows of a tile: enough for an expert's likely share.
constexpr int32_t ExpertTileRows(int64_t slots, int64_t experts) {
  return slots <= 8 * experts ? 8 : slots <= 32 * experts ? 16 : kTiledRows;
}
// Tiles of so many rows that any choice fits in.
constexpr int64_t MostExpertTiles(int64_t slots, int64_t experts, int32_t tile_rows) {
  return std::min(slots, slots / tile_rows + experts);
}
constexpr int64_t MostExpertTiles(int64_t slots, int64_t experts) {
  return MostExpertTiles(slots, experts, ExpertTileRows(slots, experts));
}

struct PermuteParams {
  const int32_t* chosen = nullptr;  // [slots]
  int32_t* place = nullptr;         // [slots]
  int32_t* row_at = nullptr;        // [slots]
  int32_t* first = nullptr;         // [experts + 1]: an expert's places
  ExpertTile* tiles = nullptr;      // [tile_count]; those beyond the last are empty
  int32_t slots = 0;
  int32_t used = 0;  // of a row
  int32_t experts = 0;
  int32_t tile_count = 0;
  int32_t tile_rows = 0;
};
LaunchResult PermuteExperts(const PermuteParams& params, void* stream);

struct GatherRowsParams {
  const uint16_t* x = nullptr;      // [.., width], 16-byte aligned
  const int32_t* row_at = nullptr;  // [rows]
  uint16_t* out = nullptr;          // [rows, width], 16-byte aligned
  int32_t rows = 0;
  int32_t width = 0;  // a multiple of 8
};
LaunchResult GatherRows(const GatherRowsParams& params, void* stream);

struct CombineParams {
  const float* x = nullptr;        // [rows * used, width], 16-byte aligned
  const int32_t* place = nullptr;  // [rows, used]
  const float* weights = nullptr;  // [rows, used]
  const float* base = nullptr;     // [rows, width] or null
  float* out = nullptr;            // [rows, width], may be base
  int32_t rows = 0;
  int32_t used = 0;
  int32_t width = 0;  // a multiple of 4
};
LaunchResult CombineExperts(const CombineParams& params, void* stream);

}  // namespace weft::gpu
