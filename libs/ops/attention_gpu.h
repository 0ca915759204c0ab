// Causal attention over paged keys and values on the GPU: the op paged_attention of op_table.h,
// where prefill_gpu.h's does not take over.
//
//   s[t] = scale * q . k[t], capped to softcap * tanh(s / softcap) where that is set
//   out  = sum of softmax(s)[t] * v[t] over t in (position - window, position]
//
// Heads that share keys are packed: the 16 rows of an mma are (row, head of the group) pairs.
// Tokens are cut into chunks of kChunkTokens at absolute positions, chunks into tiles of 16 tokens
// that the four warps take in turn. Within a chunk a warp's sums are kept by the online softmax
// (Milakov and Gimelshein, https://arxiv.org/abs/1805.02867), warps are merged ascending, chunks
// are merged ascending, always in pairs and always with the same formula:
//   (m, l, o) + (m', l', o') = (M, l e^(m - M) + l' e^(m' - M), o e^(m - M) + o' e^(m' - M)),
//   M = max(m, m')
// so that a row's bits do not depend on how its chunks were spread: a decode row has a block for
// each chunk and a second kernel that merges, a prefill row one block that walks over all.
// Flash-decoding: Dao et al., https://arxiv.org/abs/2307.08691 and the PyTorch post of that name.
//
// FP8 pages (e4m3, without a scale: values saturate at 448) become half in shared memory.
//
// Bytes of a decode row: visible tokens * kv_heads * head_dim * 4, and rows * heads * chunks *
// (head_dim + 2) * 8 of partial sums.
#pragma once

#include <cstdint>

#include "libs/ops/gpu_launch.h"
#include "libs/ops/rope_cache_gpu.h"

namespace weft::gpu {

constexpr int32_t kChunkTokens = 512;

// Up to 16 / group successive rows of one sequence.
struct AttentionItem {
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t first_position = 0;
  int32_t table = 0;   // of its block table's first entry in `tables`
  int32_t spread = 0;  // 1: a block per chunk, then MergeAttention; 0: one block
};

struct AttentionParams {
  const float* q = nullptr;           // [rows, heads * head_dim]
  const uint16_t* k_pages = nullptr;  // [pages, kv_heads, block_tokens, head_dim]
  const uint16_t* v_pages = nullptr;
  const AttentionItem* items = nullptr;
  const int32_t* tables = nullptr;
  float* out = nullptr;          // [rows, heads * head_dim] or null
  uint16_t* out_bf16 = nullptr;  // or null
  // Partial sums of spread rows that see several chunks: o [spread rows, heads, chunks, head_dim],
  // m and l [spread rows, heads, chunks, 2].
  float* partial_o = nullptr;
  float* partial_ml = nullptr;
  const int32_t* positions = nullptr;     // [rows], for the merge
  const int32_t* partial_rows = nullptr;  // [rows]: a spread row's place there; -1: not spread
  float scale = 0;
  float softcap = 0;
  int32_t window = 0;  // 0: all
  int32_t item_count = 0;
  // MixedAttention's (prefill_gpu.h), not in `items`.
  const AttentionItem* prefill_items = nullptr;
  int32_t prefill_count = 0;
  int32_t rows = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t block_tokens = 0;  // a multiple of 16
  int32_t chunks = 1;        // most chunks of a spread item's context, 1 without one
  KvType kv_type = KvType::kHalf;
};

bool CanAttend(int32_t head_dim);
// Rows of one item: heads of a group times rows fill the 16 rows of an mma.
constexpr int32_t AttentionItemRows(int32_t heads, int32_t kv_heads) {
  const int32_t group = heads / kv_heads;
  return group >= 16 ? 1 : 16 / group;
}

LaunchResult PagedAttention(const AttentionParams& params, void* stream);
// After PagedAttention; no launch when `chunks` is 1.
LaunchResult MergeAttention(const AttentionParams& params, void* stream);

}  // namespace weft::gpu
