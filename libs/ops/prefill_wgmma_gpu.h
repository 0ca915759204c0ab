// Causal attention of prompts on Hopper's warpgroup tensor cores, decode rows in the same launch;
// for Numerics::kFast. FlashAttention-3: Shah et al., https://arxiv.org/abs/2407.08608
//
// attention_gpu.h's mathematics with one chain: a row's softmax goes through tiles of 128 tokens at
// absolute positions, ascending, from the first that a row of its block sees. Tiles that are all
// masked for a row change nothing, so a row has the same bits whatever rows are beside it; they are
// not the bits of attention_gpu.h, whose sums are made of chunks and chains. Scores enter the
// exponential with one fused multiply-add, s * scale * log2(e) - max.
//
// A block has 128 (row, head) pairs: a producer warp, and two consumer warpgroups of 64 pairs each.
//   S = Q K^T   wgmma m64n128k16, Q and K in shared memory, head_dim / 16 of them
//   O += P V    wgmma m64n64k16, P of the softmax in registers, V as it lies in the pages (N-major)
// The next tile's S is put to work before this tile's O, and its softmax is done while O is on its
// way. K and V have two stages each, and each stage two mbarriers: full and empty.
//
// Pages come by TMA: the tokens of a page and KV head are rows of one matrix [pages * kv_heads *
// block_tokens, head_dim], a box has up to 128 of them by 64 columns, and the block table is read
// by the producer only. A gather by cp.async would keep a warpgroup busy with addresses and
// registers that the consumers need. One box of a block is different: after its last token a page
// holds whatever was there, and 0 * NaN is NaN. That box, and those after it, the producer's lanes
// copy by cp.async, which fills with zeros, in the same swizzled places.
//
// Bytes and operations: as prefill_gpu.h; a tile is read once for 128 pairs.
#pragma once

#include "libs/ops/attention_gpu.h"
#include "libs/ops/gpu_launch.h"

namespace weft::gpu {

// What the launcher takes: heads of 64 or 128, pages of F16 or BF16 with 16, 32, 64 or any multiple
// of 128 tokens. The device must be of compute capability 9.0.
bool CanPrefillByWgmma(const AttentionParams& params);

// As MixedAttention (prefill_gpu.h), which makes the same items.
LaunchResult WgmmaAttention(const AttentionParams& params, void* stream);

}  // namespace weft::gpu
