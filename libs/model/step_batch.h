// One forward step: rows of tokens of several sequences, prefill chunks and decode rows mixed.
#pragma once

#include <cstdint>
#include <vector>

namespace weft {

// KV page and prefix-hash granularity, in tokens.
inline constexpr int kBlockTokens = 64;

struct StepBatch {
  // [rows] each. Rows of one sequence are contiguous and ascend in position; sequences are in
  // order. A row's cache slot = block * block_tokens + offset: where its K and V are written.
  std::vector<int32_t> tokens;
  std::vector<int32_t> positions;
  std::vector<int32_t> cache_slots;
  std::vector<uint8_t> wants_logits;

  struct Sequence {
    int32_t first_row = 0;
    int32_t rows = 0;
    // block_table[i] holds positions [i * block_tokens, (i + 1) * block_tokens). Not owned; valid
    // during Forward.
    const int32_t* block_table = nullptr;
    int32_t blocks = 0;
    int32_t context_tokens = 0;  // KV length after these rows
  };
  std::vector<Sequence> sequences;

  int32_t rows() const { return static_cast<int32_t>(tokens.size()); }
  void Clear() {
    tokens.clear();
    positions.clear();
    cache_slots.clear();
    wants_logits.clear();
    sequences.clear();
  }
};

}  // namespace weft
