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

class GgufFile;

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
  const GgufFile& file;
  // The file is mapped: pages whose contents were repacked can go, and come back if needed.
  bool mapped = false;
  std::function<void(double)> progress;  // may be empty
};

// Checks every tensor that the architecture needs for presence, shape and type, refuses ones it
// does not know, and prepares the matrices with `table`. Errors name the tensor. The weights refer
// to the file's bytes.
absl::StatusOr<ModelWeights> LoadWeights(const WeightSource& source, const ModelConfig& config,
                                         const OpTable& table, OpContext& context);

// Lets the kernel take back the pages that lie wholly inside a part of a mapped file.
void DropMappedPages(const uint8_t* data, uint64_t bytes);

}  // namespace weft
