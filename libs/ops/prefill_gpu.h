// Causal attention over paged keys and values on the GPU, prompts and decode rows in one launch; of
// prompts flash style. FlashAttention: Dao et al.,
// https://arxiv.org/abs/2205.14135 and https://arxiv.org/abs/2307.08691
//
// attention_gpu.h's mathematics, and its bits: a row is the same whichever kernel computes it, and
// whatever rows are beside it. There a chunk of 512 tokens is dealt to four warps in tiles of 16,
// each with a chain of its own. Here a warp has 16 (row, head) pairs for itself and goes through
// the four chains one after the other; a chain's sums join the chunk's when it ends, the chunk's
// join the running ones. Tiles that all of a warp's rows are masked in change nothing and are left
// out.
//
// A block has PrefillPairs pairs, which share each tile that it copies: four tiles of one chain at
// a time, one for heads of 256, while the four before are worked on.
//
// Decode rows are attention_gpu.h's: its units of four warps, two of them a block (one for heads of
// 256), in the blocks after the prompts', so that they fill what the longest prompts leave idle.
//
// Bytes: visible tokens * kv_heads * head_dim * 4 for every item of up to PrefillItemRows rows;
// operations: 4 * visible tokens * heads * head_dim of every row.
#pragma once

#include <cstdint>

#include "libs/ops/attention_gpu.h"
#include "libs/ops/gpu_launch.h"

namespace weft::gpu {

// (row, head) pairs of a block.
constexpr int32_t PrefillPairs(int32_t head_dim) { return head_dim > 128 ? 64 : 128; }
// Rows of one item.
constexpr int32_t PrefillItemRows(int32_t heads, int32_t kv_heads, int32_t head_dim) {
  const int32_t group = heads / kv_heads;
  const int32_t pairs = PrefillPairs(head_dim);
  return group >= pairs ? 1 : pairs / group;
}

// Both params.prefill_items, which are not spread, and params.items; MergeAttention follows as
// after PagedAttention, for the latter.
LaunchResult MixedAttention(const AttentionParams& params, void* stream);

}  // namespace weft::gpu
