// How much memory a model takes, known before it is loaded.
#pragma once

#include <absl/status/status.h>

#include <cstdint>

#include "libs/device/memory.h"
#include "libs/model/model_config.h"
#include "libs/model/tensor_source.h"

namespace weft {

// What a model will be used for.
struct MemoryPlan {
  uint64_t kv_bytes =
      0;  // most for the KV cache; less when all sequences at full context need less
  int32_t sequences = 1;    // at a time
  int32_t step_rows = 512;  // of the largest step
};

// How far the loading of a model is.
struct LoadProgress {
  uint64_t bytes = 0;  // of the source's tensors
  uint64_t all = 1;

  double fraction() const { return static_cast<double>(bytes) / static_cast<double>(all); }
};

struct MemoryNeed {
  uint64_t weights = 0;  // repacked; a mapped file's own pages are not counted, they can go
  uint64_t kv = 0;
  uint64_t scratch = 0;    // activations and logits, about
  uint64_t total() const;  // at most UINT64_MAX
};

// Bytes of K and V of one token in all layers, in a cache of `type` (kv_page.h).
uint64_t KvBytesPerToken(const ModelConfig& config, DType type = DType::kF16);

// For the fast table. Tensors of types that cannot be computed with count with their own size.
MemoryNeed EstimateMemory(const ModelConfig& config, const TensorSource& tensors,
                          const MemoryPlan& plan, DType kv_type = DType::kF16);

// RESOURCE_EXHAUSTED with all the numbers when it does not fit.
absl::Status CheckMemory(const MemoryNeed& need, const AvailableMemory& available);

}  // namespace weft
