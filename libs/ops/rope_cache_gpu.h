// Rotary positions and the write of keys and values into their pages: the op rope_and_cache of
// op_table.h. Su et al., "RoFormer", https://arxiv.org/abs/2104.09864
//
//   pair (a, b) of a head -> (a cos - b sin, a sin + b cos), after an RMS norm of the head where it
//   has one. q in place; k and v, rounded to the cache's type, to page slot / block_tokens at
//   [kv_head, slot % block_tokens, head_dim]: a token's head is contiguous, unlike the CPU's pages.
//
// A warp takes one head of one row. Bytes: rows * (heads * D * 8 + 2 * kv_heads * D * (4 + 2)).
#pragma once

#include <cstdint>

#include "libs/ops/gpu_launch.h"

namespace weft::gpu {

// How pages hold keys and values.
enum class KvType : int32_t { kHalf, kBf16, kFp8 };

struct RopeCacheParams {
  float* q = nullptr;        // [rows, heads * head_dim]
  const float* k = nullptr;  // [rows, kv_heads * head_dim]
  const float* v = nullptr;
  const float* q_norm = nullptr;  // [head_dim] or null
  const float* k_norm = nullptr;
  const float* cos_sin = nullptr;  // [rows, rope_dim]: cosines, then sines
  const int32_t* slots = nullptr;  // [rows]
  uint16_t* k_pages = nullptr;     // [pages, kv_heads, block_tokens, head_dim]; bytes of FP8
  uint16_t* v_pages = nullptr;
  float norm_eps = 0;
  int32_t rows = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;  // at most 256
  int32_t rope_first = 0;
  int32_t rope_dim = 0;
  int32_t neighbours = 1;  // pairs are (2 i, 2 i + 1), else (i, i + rope_dim / 2)
  int32_t block_tokens = 0;
  KvType kv_type = KvType::kHalf;
};
LaunchResult RopeCache(const RopeCacheParams& params, void* stream);

}  // namespace weft::gpu
