// How cached keys and values lie in a page, by the cache's type. F16, BF16 (and F32, ref only):
// elements alone, and so F8_E4M3 (gpu table only; saturates at 448). Q8_0: signed bytes, and half
// scales that groups of kKvGroup successive elements of one token's head share (the last group may
// be half as long).
//
//   K page: elements [kv_heads, head_dim, block_tokens], so that scores have tokens in their lanes;
//           then scales [kv_heads, groups, block_tokens]
//   V page: elements [kv_heads, block_tokens, v_dim]; then scales [kv_heads, groups, block_tokens]
#pragma once

#include <cstdint>

#include "libs/tensor/dtype.h"

namespace weft {

inline constexpr int32_t kKvGroup = 32;

constexpr bool IsScaledKv(DType type) { return type == DType::kQ8_0; }
constexpr int64_t KvGroups(int64_t dim) { return (dim + kKvGroup - 1) / kKvGroup; }
constexpr int64_t KvElementBytes(DType type) {
  return IsScaledKv(type) || type == DType::kF8E4M3 ? 1 : type == DType::kF32 ? 4 : 2;
}
// One token's head of `dim` elements, scales included.
constexpr int64_t KvHeadBytes(DType type, int64_t dim) {
  return dim * KvElementBytes(type) + (IsScaledKv(type) ? 2 * KvGroups(dim) : 0);
}

// Of the K or the V of all heads. Offsets are bytes from the page's begin.
struct KvPage {
  DType type = DType::kF16;
  int64_t heads = 0;
  int64_t dim = 0;
  int64_t tokens = 0;

  int64_t bytes() const { return heads * tokens * KvHeadBytes(type, dim); }
  int64_t elements_at(int64_t head) const { return head * dim * tokens * KvElementBytes(type); }
  int64_t scales_at(int64_t head) const {
    return elements_at(heads) + 2 * head * KvGroups(dim) * tokens;
  }
};

}  // namespace weft
