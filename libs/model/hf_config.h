// What a Hugging Face checkpoint is: config.json and generation_config.json as a ModelConfig.
// Both spellings of positions are read: rope_theta with rope_scaling, as most public models have
// them, and rope_parameters of transformers 5.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "libs/model/model_config.h"

namespace weft {

// How the tensors of a checkpoint differ from what a model needs.
enum class HfLayout {
  kLlama,      // one tensor each: Llama, Mistral, Qwen, Granite, SmolLM3
  kMixtral,    // experts w1 w2 w3 under block_sparse_moe
  kStarCoder,  // fused c_attn, names of GPT-2
  kStarCoder2,
  kGemma,  // norms hold weight - 1; two more norms in a layer
  kPhi3,   // fused qkv_proj and gate_up_proj
  kDeepSeek,
};

struct HfConfig {
  ModelConfig model;
  HfLayout layout = HfLayout::kLlama;
  bool keep_fp8 = false;  // they stay in FP8 (HfTensorSource)
  bool fp8 = false;       // matrices may be F8_E4M3 with scales beside them
  // Of the scales: rows and columns of a block; 0: one scale for the tensor or for each row.
  int32_t fp8_block_rows = 0;
  int32_t fp8_block_cols = 0;
};

// `generation` is empty when there is no generation_config.json. Unknown model types, kinds of rope
// scaling, activations and quantisations are UNIMPLEMENTED, missing or hostile values are
// INVALID_ARGUMENT; each error names the file and the key.
absl::StatusOr<HfConfig> ParseHfConfig(std::string_view config, std::string_view generation);

}  // namespace weft
