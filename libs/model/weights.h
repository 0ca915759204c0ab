// The weights of a Llama-family model, checked and ready for the op table.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "libs/model/model_config.h"
#include "libs/ops/op_table.h"

namespace weft {

class TensorSource;

struct LayerWeights {
  std::vector<float> attention_norm;  // [hidden]
  std::vector<float> ffn_norm;        // [hidden]
  Weight q, k, v;                     // [heads * head_dim | kv_heads * head_dim, hidden]
  Weight attention_out;               // [hidden, heads * head_dim]
  Weight gate, up;                    // [ffn, hidden]
  Weight down;                        // [hidden, ffn]
};

struct ModelWeights {
  Weight embedding;  // [vocab, hidden], in the file's format: rows are looked up
  Weight output;     // [vocab, hidden]; made of the embedding when they are tied
  std::vector<float> output_norm;
  std::vector<float> rope_factors;  // [rope_dim / 2], each divides a frequency; empty: none
  std::vector<LayerWeights> layers;
  DType main_type = DType::kF32;  // that most elements of the matrices have
  uint64_t packed_bytes = 0;
};

struct WeightSource {
  const TensorSource& tensors;
  std::function<void(double)> progress;  // may be empty
};

// Checks every tensor that the architecture needs for presence, shape and type, refuses ones it
// does not know, and prepares the matrices with `table`. Errors name the tensor. The weights refer
// to the source's bytes.
absl::StatusOr<ModelWeights> LoadWeights(const WeightSource& source, const ModelConfig& config,
                                         const OpTable& table, OpContext& context);

}  // namespace weft
