// The oracle's view of cached keys or values: one element at a time, as the cache's type defines
// it.
#pragma once

#include <cstdint>

#include "libs/ops/op_table.h"

namespace weft {

// Refers to the pages of one layer, which it does not own.
class RefCache {
 public:
  static RefCache Keys(const KvLayer& cache, const KvShape& shape) {
    return {cache.k, shape.k_page(), /*token_step=*/1, /*element_step=*/shape.block_tokens};
  }
  static RefCache Values(const KvLayer& cache, const KvShape& shape) {
    return {cache.v, shape.v_page(), /*token_step=*/shape.v_dim, /*element_step=*/1};
  }

  float Load(int64_t page, int64_t head, int64_t token, int64_t element) const;
  // Rounds `values` [dim] to the cache's type.
  void Store(int64_t page, int64_t head, int64_t token, const float* values);

 private:
  RefCache(void* pages, const KvPage& page, int64_t token_step, int64_t element_step)
      : pages_(static_cast<uint8_t*>(pages)),
        page_(page),
        token_step_(token_step),
        element_step_(element_step) {}

  uint8_t* Element(int64_t page, int64_t head, int64_t token, int64_t element) const {
    const int64_t index = token * token_step_ + element * element_step_;
    return pages_ + page * page_.bytes() + page_.elements_at(head) +
           index * KvElementBytes(page_.type);
  }
  uint8_t* Scale(int64_t page, int64_t head, int64_t token, int64_t group) const {
    return pages_ + page * page_.bytes() + page_.scales_at(head) +
           2 * (group * page_.tokens + token);
  }

  uint8_t* pages_;
  KvPage page_;
  int64_t token_step_;
  int64_t element_step_;
};

}  // namespace weft
