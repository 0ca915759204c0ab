// The kernels of the fast CPU table, one set per instruction set. All sets give the same bits:
//  - an int8 product is summed exactly in int32 inside a block of 32 (16 for Q6_K and expanded
//    formats), then scaled and added with one fused multiply-add per block, blocks ascending;
//  - other sums run over 16 interleaved lanes, ascending, and are folded 16 -> 8 -> 4 -> 2 -> 1;
//  - exp is a polynomial of ours; nothing calls libm.
// Every pointer is unaligned unless it says otherwise. Nothing allocates.
#pragma once

#include <cstdint>

#include "libs/device/cpu_features.h"
#include "libs/ops/op_kinds.h"

namespace weft::cpu {

// How a repacked weight is laid out. Output rows are taken 16 at a time (a group, the last one
// padded with zeros) and interleaved across vector lanes.
enum class Layout : uint8_t {
  kQ4,           // Q4_0, Q4_1; the bytes of the quantised ones: quant_tiles.h
  kQ8,           // Q8_0
  kQ4K,          // Q4_K
  kQ5K,          // Q5_K
  kQ6,           // Q6_K
  kCodes,        // any other format, expanded to signed bytes with fp32 scales per 16
  kCodesOffset,  // the same with fp32 offsets
  kF32,          // per input: 16 floats
  kF16,          // per input: 16 halves
  kBF16,         // per input: 16 bfloat16
};
inline constexpr int kMaxHeadDim = 512;
inline constexpr int kGroupRows = 16;
inline constexpr int kQBlock = 32;
// Bytes for 32 inputs x 16 outputs, or for 256 x 16 where a format has super-blocks.
inline constexpr int64_t kQ4TileBytes = 320;
inline constexpr int64_t kQ8TileBytes = 544;
inline constexpr int64_t kCodesTileBytes = 640;
inline constexpr int64_t kCodesOffsetTileBytes = 768;
inline constexpr int64_t kSuperHeadBytes = 320;  // scales of a Q4_K or Q5_K super-block
inline constexpr int64_t kQ4KSuperBytes = kSuperHeadBytes + 8 * 256;
inline constexpr int64_t kQ5KSuperBytes = kSuperHeadBytes + 8 * 320;
inline constexpr int64_t kQ6SuperBytes = 288 + 8 * 384;

// True when the layout multiplies int8 activations, false when it takes fp32 ones.
constexpr bool IsQuantized(Layout layout) { return layout < Layout::kF32; }
// Bytes of one group of 16 output rows with `cols` inputs.
constexpr int64_t GroupBytes(Layout layout, int64_t cols) {
  switch (layout) {
    case Layout::kQ4:
      return cols / kQBlock * kQ4TileBytes;
    case Layout::kQ8:
      return cols / kQBlock * kQ8TileBytes;
    case Layout::kQ4K:
      return cols / 256 * kQ4KSuperBytes;
    case Layout::kQ5K:
      return cols / 256 * kQ5KSuperBytes;
    case Layout::kQ6:
      return cols / 256 * kQ6SuperBytes;
    case Layout::kCodes:
      return cols / kQBlock * kCodesTileBytes;
    case Layout::kCodesOffset:
      return cols / kQBlock * kCodesOffsetTileBytes;
    case Layout::kF32:
      return cols * kGroupRows * 4;
    case Layout::kF16:
    case Layout::kBF16:
      return cols * kGroupRows * 2;
  }
  return 0;
}

// Activations quantised in blocks of 32: x ~= scale * q, |q| <= 127. Block-major, so that a block
// of several rows lies together: element i of block b of row r is q[(b * stride + r) * 32 + i], and
// the rows' figures of one block follow one another likewise.
struct QuantizedRows {
  int8_t* q = nullptr;
  float* scale = nullptr;          // [blocks, stride]
  float* scaled_sum = nullptr;     // [blocks, stride]: scale * sum of the block's q
  int32_t* minus128sum = nullptr;  // [blocks, stride, 2]: -128 * sum of 16 q: turns unsigned
                                   // weights to signed
  int64_t stride = 0;              // rows of the step

  // The same from row `row` and block `block` on.
  QuantizedRows from(int64_t row, int64_t block = 0) const {
    const int64_t at = block * stride + row;
    return {q + at * kQBlock, scale + at, scaled_sum + at, minus128sum + 2 * at, stride};
  }
};

// out[r * out_stride + n] = sum over k of x[r][k] * w[n][k], for the outputs of some groups.
struct MatmulArgs {
  Layout layout;
  const uint8_t* weights;  // of the first group, aligned to 64
  int64_t cols;
  int64_t groups;
  int64_t outputs;  // rows of the weight that these groups hold: 16 each, the last one maybe less
  QuantizedRows x;  // of the first row; layouts with IsQuantized
  const float* x_float;  // of the first row, stride cols; other layouts
  int64_t rows;
  float* out;  // of the first row and the first group
  int64_t out_stride;
};

// One row's queries and keys normalised and rotated, then K and V into the cache.
struct RopeCacheArgs {
  float* q;        // [heads * head_dim], in place
  const float* k;  // head h at k + h * k_head_stride
  const float* v;  // head h at v + h * v_head_stride
  // Null, or the rope_dim rotating elements of every key head, which k then does not hold.
  const float* k_shared;
  int64_t k_head_stride, v_head_stride;
  const float* q_norm;  // [head_dim] weights of an RMS norm of each head, or null
  const float* k_norm;
  float norm_eps;
  const float* cos_sin;  // [rope_dim / 2] cosines, then as many sines
  int32_t heads, kv_heads, head_dim, v_dim;
  int32_t rope_first, rope_dim;  // elements [rope_first, rope_first + rope_dim) of a head rotate
  bool neighbours;               // pairs (2i, 2i + 1), else (i, i + rope_dim / 2)
  KvElement kv;                  // what the cache holds
  uint8_t* k_block;              // page: elements [kv_heads, head_dim, block_tokens]
  uint8_t* v_block;              // page: elements [kv_heads, block_tokens, v_dim]
  uint8_t* k_scales;             // kScaledByte: [kv_heads, groups, block_tokens] of the page
  uint8_t* v_scales;
  int32_t block_tokens;
  int32_t offset;  // token within the page
};

// Attention of `rows` successive rows of one sequence for the query heads of one KV head.
struct AttentionArgs {
  const float* q;  // first row, first head of the group; stride q_stride between rows
  int64_t q_stride;
  float* out;  // the same layout
  int64_t out_stride;
  int32_t rows;
  int32_t first_position;  // of the first row: it attends to first_position + 1 tokens
  int32_t group;           // query heads per KV head
  int32_t head_dim;        // of queries and keys; multiple of 16
  int32_t v_dim;           // of values and outputs; multiple of 16
  float scale;
  float softcap;           // scores become softcap * tanh(score / softcap); 0: they do not
  int32_t window;          // a row sees this many tokens, itself included; 0: all
  KvElement kv;            // what the cache holds
  const uint8_t* k_cache;  // of the layer and KV head: page b at k_cache + b * k_page_stride
  const uint8_t* v_cache;
  const uint8_t* k_scales;  // kScaledByte: likewise the head's scales
  const uint8_t* v_scales;
  int64_t k_page_stride;  // bytes between pages
  int64_t v_page_stride;
  const int32_t* block_table;
  int32_t block_tokens;  // multiple of 16
  float* scratch;        // AttentionScratchFloats(rows * group, v_dim) floats
};
constexpr int64_t AttentionScratchFloats(int64_t queries, int64_t v_dim) {
  return queries * (v_dim + 2);
}

struct Kernels {
  Isa isa;
  void (*matmul)(const MatmulArgs& args);
  // out = x / sqrt(mean(x^2) + eps) * weight. In place is fine.
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps, float* out);
  void (*add)(float* x, const float* delta, int64_t n);  // x += delta
  // One row of n elements, a multiple of 32, to the first row of `out`.
  void (*quantize)(const float* x, int64_t n, const QuantizedRows& out);
  // out = (x - mean) / sqrt(variance + eps) * weight + bias. In place is fine.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, int64_t n, float eps,
                     float* out);
  void (*add_scaled)(float* x, const float* delta, float scale, int64_t n);  // x += scale * delta
  // out = activation(gate) * up, or activation(up) when gate is null.
  void (*activate)(Activation kind, const float* gate, const float* up, int64_t n, float* out);
  // x *= scale, then x = cap * tanh(x / cap) unless cap is 0.
  void (*scale_and_cap)(float* x, int64_t n, float scale, float cap);
  // x = e^x / sum of e^x, in place.
  void (*softmax)(float* x, int64_t n);
  void (*sigmoid)(float* x, int64_t n);  // x = 1 / (1 + e^-x), in place
  void (*rope_cache)(const RopeCacheArgs& args);
  void (*attention)(const AttentionArgs& args);
};

// The set of a level that this machine has (AvailableIsas). Lives for ever.
const Kernels& GetKernels(Isa isa);

}  // namespace weft::cpu
