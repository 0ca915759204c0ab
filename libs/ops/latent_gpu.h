// Multi-head latent attention on the GPU, with the expansion folded into queries and outputs, so
// that the cache holds one latent vector a token for all heads: the op latent_attention of
// op_table.h. DeepSeek-V2, https://arxiv.org/abs/2405.04434, section 2.1.
//
//   c[t]    the latent of token t (kv_lora elements), r[t] its rotated key part (rope_dim)
//   q'[h]   = sum over n of q[h][n] * K[h][n]            HeadProduct, K[h] [nope_dim, kv_lora]
//   s[h][t] = scale * (q'[h] . c[t] + rope(q[h]) . r[t]) LatentAttention
//   o'[h]   = sum over t of softmax(s[h])[t] * c[t]
//   o[h][d] = sum over c of o'[h][c] * V[h][d][c]        HeadProduct, V[h] [v_dim, kv_lora]
//
// LatentCache writes c and r into pages [pages, block_tokens, kv_lora + rope_dim], and rotates the
// queries. A page's token is (kv_lora + rope_dim) * 2 bytes, whatever the number of heads.
//
// LatentAttention: a block has 16 (row, head) pairs, as attention_gpu.h's. Tiles of 64 tokens come
// to shared memory once; of the scores each of four warps makes 16 tokens' and shares them, of the
// sums each keeps a quarter of the columns. Chunks are anchored and merged as there.
//
// Bytes of a decode row: visible tokens * (kv_lora + rope_dim) * 2 for each 16 heads (the second
// and later ones from L2), heads * (nope_dim + v_dim) * kv_lora * 2 of the two products' weights.
#pragma once

#include <cstdint>

#include "libs/ops/attention_gpu.h"
#include "libs/ops/gpu_launch.h"
#include "libs/ops/rope_cache_gpu.h"

namespace weft::gpu {

// out[r][h][n] = sum over k, ascending, of x[r][h][k] * w[h][k][n], or of w[h][n][k].
struct HeadProductParams {
  const uint16_t* weights = nullptr;  // bf16; head h's matrix from h * head_elements on, 16-byte
                                      // aligned like its rows
  const float* x = nullptr;           // one of the two: fp32, rounded to bf16,
  const uint16_t* x_bf16 = nullptr;   // or bf16; rows and heads 8-byte aligned
  float* out = nullptr;               // or null
  uint16_t* out_bf16 = nullptr;       // or null
  int64_t head_elements = 0;
  int64_t x_row = 0, x_head = 0;  // elements from one to the next
  int64_t out_row = 0, out_head = 0;
  int32_t transposed = 0;  // 1: w[h][n][k]
  int32_t rows = 0;
  int32_t heads = 0;
  int32_t inner = 0;    // k: a multiple of 8
  int32_t outputs = 0;  // n: a multiple of 8
};
LaunchResult HeadProduct(const HeadProductParams& params, void* stream);

struct LatentCacheParams {
  const float* q = nullptr;          // [rows, heads, nope_dim + rope_dim]
  const uint16_t* latent = nullptr;  // bf16 [rows, kv_lora]
  const float* k_rope = nullptr;     // row r at k_rope + r * k_rope_stride
  const float* cos_sin = nullptr;    // [rows, rope_dim]: cosines, then sines
  const int32_t* slots = nullptr;    // [rows]
  float* latent_q = nullptr;         // [rows, heads, kv_lora + rope_dim]: its last rope_dim
  uint16_t* pages = nullptr;
  int64_t k_rope_stride = 0;
  int32_t rows = 0;
  int32_t heads = 0;
  int32_t nope_dim = 0;
  int32_t kv_lora = 0;
  int32_t rope_dim = 0;
  int32_t neighbours = 1;
  int32_t block_tokens = 0;
  KvType kv_type = KvType::kHalf;
};
LaunchResult LatentCache(const LatentCacheParams& params, void* stream);

// Whether LatentAttention takes latents of this shape.
bool CanAttendLatent(int32_t kv_lora, int32_t rope_dim);

// `params` as PagedAttention's, and MergeAttention follows with the same: q is latent_q, k_pages
// the latents', v_pages not used; kv_heads is 1, head_dim kv_lora; no window.
LaunchResult LatentAttention(const AttentionParams& params, int32_t rope_dim, void* stream);

}  // namespace weft::gpu
