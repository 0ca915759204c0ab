// The one transformer: a decoder-only stack written once against the op table.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "libs/model/model_config.h"
#include "libs/model/rope.h"
#include "libs/model/step_batch.h"
#include "libs/model/weights.h"
#include "libs/ops/op_table.h"

namespace weft {

// One thread at a time.
class Transformer {
 public:
  // All referred to must outlive the transformer.
  Transformer(const ModelConfig& config, const ModelWeights& weights, const OpTable& table,
              OpContext& context);

  // `batch` is valid (model.cc checks it); `logits` holds [count(wants_logits), vocab]. Adds one to
  // `progress` after every layer.
  void Forward(const StepBatch& batch, std::span<const KvLayer> cache, const KvShape& shape,
               std::span<float> logits, std::atomic<uint64_t>& progress);

  // Bytes of activations, which grow with the largest batch seen. Thread safe.
  uint64_t scratch_bytes() const { return scratch_bytes_.load(std::memory_order_relaxed); }

 private:
  // An activation buffer with room for the quantised form if a consumer wants it.
  struct Buffer {
    int64_t width = 0;
    bool quantized = false;
    std::vector<float> data;
    std::vector<int8_t> q;
    std::vector<float> scale;
    std::vector<float> scaled_sum;
    std::vector<int32_t> minus128sum;

    void Reserve(int64_t rows);
    uint64_t bytes() const;
    Activations view(int64_t rows);
  };

  void Reserve(int64_t rows);
  void Layer(const LayerWeights& layer, const KvLayer& cache, const KvShape& shape,
             const StepBatch& batch, bool first);
  void Logits(const StepBatch& batch, std::span<float> logits);

  const ModelConfig& config_;
  const ModelWeights& weights_;
  const OpTable& ops_;
  OpContext& context_;
  const RopeTable rope_;
  int64_t reserved_rows_ = 0;
  std::atomic<uint64_t> scratch_bytes_{0};

  std::vector<float> x_;      // [rows, hidden]: the residual stream
  std::vector<float> delta_;  // [rows, hidden]: what the next norm adds to it
  std::vector<float> q_, k_, v_, gate_, up_, cos_sin_;
  Buffer normed_;    // [rows, hidden]
  Buffer attended_;  // [rows, heads * head_dim]
  Buffer gated_;     // [rows, ffn]
  std::vector<AttentionSequence> sequences_;
};

}  // namespace weft
