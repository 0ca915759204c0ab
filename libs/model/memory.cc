#include "libs/model/memory.h"

#include <algorithm>

#include "libs/base/status.h"
#include "libs/ops/kv_page.h"
#include "libs/ops/weight.h"

namespace weft {
namespace {

// Sums and products stop at the largest number instead of wrapping: sizes may be hostile.
uint64_t Add(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}
uint64_t Multiply(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}
uint64_t Positive(int64_t value) { return static_cast<uint64_t>(std::max<int64_t>(value, 0)); }

uint64_t LoadedBytes(const Tensor& tensor) {
  if (tensor.dims.empty()) return tensor.bytes;
  if (tensor.dims.size() == 1) return Multiply(4, Positive(tensor.dims[0]));
  uint64_t matrices = 1;
  for (size_t d = 2; d < tensor.dims.size(); ++d) {
    matrices = Multiply(matrices, Positive(tensor.dims[d]));
  }
  const std::optional<uint64_t> packed = PackedBytes(tensor.type, tensor.dims[1], tensor.dims[0]);
  return packed ? Multiply(matrices, *packed) : tensor.bytes;
}

uint64_t ScratchBytes(const ModelConfig& config, const MemoryPlan& plan) {
  const uint64_t heads = Multiply(Positive(config.heads), Positive(config.head_dim));
  // Floats of one row: residual stream, delta, norm, queries, keys, values, attention, gate, up.
  const uint64_t hidden = Multiply(4, Positive(config.hidden));
  const uint64_t row = Add(Add(hidden, Multiply(4, heads)), Multiply(3, Positive(config.ffn)));
  return Add(Multiply(Multiply(4, row), Positive(plan.step_rows)),
             Multiply(Multiply(4, Positive(config.vocab)), Positive(plan.sequences)));
}

}  // namespace

uint64_t MemoryNeed::total() const { return Add(Add(weights, kv), scratch); }

uint64_t KvBytesPerToken(const ModelConfig& config, DType type) {
  const int64_t head = KvHeadBytes(type, config.head_dim) + KvHeadBytes(type, config.value_dim());
  return Multiply(Multiply(Positive(config.layers), Positive(config.kv_heads)), Positive(head));
}

MemoryNeed EstimateMemory(const ModelConfig& config, const TensorSource& tensors,
                          const MemoryPlan& plan, DType kv_type) {
  MemoryNeed need;
  const bool tied = tensors.Find("output.weight") == nullptr;
  for (const Tensor& tensor : tensors.tensors()) {
    // Rows of the embedding are looked up in the file.
    if (!tied && tensor.name == "token_embd.weight") continue;
    need.weights = Add(need.weights, LoadedBytes(tensor));
  }
  const uint64_t whole =
      Multiply(Multiply(KvBytesPerToken(config, kv_type), Positive(config.context_length)),
               Positive(plan.sequences));
  need.kv = std::min(plan.kv_bytes, whole);
  need.scratch = ScratchBytes(config, plan);
  return need;
}

absl::Status CheckMemory(const MemoryNeed& need, const AvailableMemory& available) {
  if (need.total() <= available.bytes) return absl::OkStatus();
  return ResourceExhausted(
      "not enough memory: {} bytes are needed ({} for weights, {} for the KV cache, {} for "
      "activations), {} are available ({})",
      need.total(), need.weights, need.kv, need.scratch, available.bytes, available.limit);
}

}  // namespace weft
