// The attention half of a layer: projections, positions, cache, attention, output projection.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "libs/model/activation_buffer.h"
#include "libs/model/model_config.h"
#include "libs/model/step_batch.h"
#include "libs/model/step_buffer.h"
#include "libs/model/weights.h"
#include "libs/ops/op_table.h"

namespace weft {

// What all layers of a step share.
struct StepView {
  const StepBatch& batch;
  std::span<const AttentionSequence> sequences;
  const KvShape& shape;
  const float* cos_sin = nullptr;          // [rows, rope_dim]
  const float* cos_sin_sliding = nullptr;  // the same for layers with a sliding window
};

// One thread at a time.
class AttentionBlock {
 public:
  AttentionBlock(const ModelConfig& config, const ModelWeights& weights, const OpTable& ops,
                 OpContext& context);

  // Makes room for steps of `rows`; returns the bytes held.
  uint64_t Reserve(int64_t rows);

  // `input` is normed. Writes K and V of the rows to the cache, and `out` [rows, hidden].
  void Run(int32_t layer, const Activations& input, const StepView& step, const KvLayer& cache,
           float* out);

 private:
  // Queries and the latent; with `expand` keys and values of all heads too.
  void ProjectLatent(const AttentionWeights& layer, const Activations& input, int64_t rows,
                     bool expand);
  void AttendLatent(const AttentionWeights& layer, const StepView& step, const KvLayer& cache);

  const ModelConfig& config_;
  const ModelWeights& weights_;
  const OpTable& ops_;
  OpContext& context_;

  StepBuffer<float> q_;         // [rows, heads * head_dim]
  StepBuffer<float> k_;         // [rows, kv_heads * head_dim]; latent: [rows, heads * (nope + v)]
  StepBuffer<float> v_;         // [rows, kv_heads * head_dim]
  StepBuffer<float> q_a_;       // latent: [rows, q_lora]
  StepBuffer<float> kv_a_;      // latent: [rows, kv_lora + rope_dim]
  StepBuffer<float> latent_q_;  // on a device: [rows, heads * (kv_lora + rope_dim)]
  StepBuffer<uint16_t> latent_out_;  // on a device: [rows, heads * kv_lora]
  ActivationBuffer q_latent_;        // [rows, q_lora]
  ActivationBuffer kv_latent_;       // [rows, kv_lora]
  ActivationBuffer attended_{ActivationBuffer::Floats::kIfRead};  // [rows, heads * value_dim]
};

}  // namespace weft
