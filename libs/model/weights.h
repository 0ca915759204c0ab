// The weights of a model, checked and ready for the op table.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "libs/model/memory.h"
#include "libs/model/model_config.h"
#include "libs/model/shard.h"
#include "libs/model/step_buffer.h"
#include "libs/ops/op_table.h"

namespace weft {

class RepackCache;
class TensorSource;

// A matrix [rows, cols] and, where the family has one, its bias [rows].
struct LinearWeights {
  Weight matrix;
  std::vector<float> bias;

  LinearArgs::Output To(float* out) const {
    return {&matrix, out, bias.empty() ? nullptr : bias.data()};
  }
  LinearArgs::Output To(StepBuffer<float>& out) const { return To(out.data()); }
};

// [width] each; empty where the family has none.
struct NormVectors {
  std::vector<float> weight;
  std::vector<float> bias;

  NormWeights view() const {
    return {weight.empty() ? nullptr : weight.data(), bias.empty() ? nullptr : bias.data()};
  }
};

struct AttentionWeights {
  NormVectors norm, post_norm;
  LinearWeights q;                    // [heads * head_dim, hidden; latent with q_lora: q_lora]
  LinearWeights k;                    // [kv_heads * head_dim, hidden]
  LinearWeights v;                    // [kv_heads * head_dim, hidden]
  LinearWeights out;                  // [hidden, heads * value_dim]
  std::vector<float> q_norm, k_norm;  // [head_dim]; empty without qk_norm
  // Latent attention: k and v are empty.
  LinearWeights q_a;   // [q_lora, hidden]; empty when queries come from the hidden state
  LinearWeights kv_a;  // [kv_lora + rope_dim, hidden]
  LinearWeights kv_b;  // [heads * (nope_dim + v_dim), kv_lora]
  std::vector<float> q_a_norm, kv_a_norm;
};

struct FfnWeights {
  NormVectors norm, post_norm;
  LinearWeights gate, up;  // [ffn, hidden]; gate is empty where it is not gated
  LinearWeights down;      // [hidden, ffn]
};

// A mixture of experts, after the same norms as a plain network (FfnWeights).
struct ExpertWeights {
  LinearWeights router;                // [experts, hidden]
  std::vector<Weight> gate, up, down;  // [experts] of [moe.ffn, hidden] and [hidden, moe.ffn]
};

struct LayerWeights {
  AttentionWeights attention;
  FfnWeights ffn;  // where there are experts: the shared ones, or empty but for the norms
  ExpertWeights experts;
};

struct ModelWeights {
  Weight embedding;  // [vocab, hidden], in the source's format: rows are looked up
  Weight positions;  // [context, hidden], likewise; learned positions only
  Weight output;     // [vocab, hidden]; made of the embedding when they are tied
  NormVectors output_norm;
  NormVectors before_first;  // the feed-forward network's post norm of the layer before the first
  std::vector<float> rope_factors;  // [rope_dim / 2], each divides a frequency; empty: none
  std::vector<LayerWeights> layers;
  DType main_type = DType::kF32;  // that most elements of the matrices have
  uint64_t packed_bytes = 0;
  // Lets the pages go that looking up rows of the embedding has brought into memory.
  std::function<void()> release_embedding;
};

struct WeightSource {
  const TensorSource& tensors;
  std::function<void(const LoadProgress&)> progress;  // may be empty
  RepackCache* repacked = nullptr;                    // where matrices may lie ready; null: nowhere
};

// Checks every tensor that the architecture needs for presence, shape and type, refuses ones it
// does not know, and prepares the matrices with `table`. Errors name the tensor. The weights refer
// to the source's bytes.
absl::StatusOr<ModelWeights> LoadWeights(const WeightSource& source, const ModelConfig& config,
                                         const OpTable& table, OpContext& context);

// Only what one rank computes with. `config` is the whole model's; matrices that another stage has
// are empty.
absl::StatusOr<ModelWeights> LoadWeights(const WeightSource& source, const ModelConfig& config,
                                         const ShardPlan& plan, const OpTable& table,
                                         OpContext& context);

}  // namespace weft
