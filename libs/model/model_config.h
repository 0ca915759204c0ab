// What a model is: one struct for every family, read from a GGUF file's metadata or from a
// checkpoint's config.json, and checked. The defaults are those of a Llama.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "libs/ops/op_kinds.h"

namespace weft {

class GgufFile;

// Which elements of a head rotate together: GGUF's "llama" files are permuted so that neighbours
// (2i, 2i+1) do; others rotate (i, i + rope_dim / 2).
enum class RopePairing { kNeighbours, kHalves };

// How rotary frequencies are changed for contexts longer than the model was first trained on.
struct RopeScaling {
  enum class Kind {
    kNone,
    kLinear,    // positions / factor
    kDynamic,   // past original_context, the base grows with the position
    kLlama3,    // long waves slowed by factor, short ones not, a ramp between
    kYarn,      // the same with a ramp over dimensions; cosines and sines scaled
    kLongRope,  // each frequency divided by a factor of its own
  };
  Kind kind = Kind::kNone;
  float factor = 1;
  int32_t original_context = 0;  // tokens of the first training; 0: the model's context_length
  // llama3
  float low_freq_factor = 1;
  float high_freq_factor = 4;
  // yarn
  float beta_fast = 32;
  float beta_slow = 1;
  bool truncate = true;  // the ramp's ends are rounded outwards to whole dimensions
  // yarn, longrope: what cosines and sines are multiplied by. 0: computed, for yarn from mscale and
  // mscale_all_dim (0: absent) as the paper says, for longrope sqrt(1 + ln(factor) / ln(original)).
  float attention_factor = 0;
  float mscale = 0;
  float mscale_all_dim = 0;
  // longrope: [rope_dim / 2] each; empty when the tensors rope_factors_{short,long}.weight give
  // them. The long ones serve when the context that is served is longer than original_context.
  std::vector<float> short_factors = {};
  std::vector<float> long_factors = {};

  // YaRN's 0.1 m ln(factor) + 1: what sharper attention over a longer context asks for.
  float yarn_magnitude(float m) const;
};

// Mixture of experts in place of the feed-forward network.
struct MoeConfig {
  int32_t experts = 0;      // 0: none, the model is dense
  int32_t used = 0;         // per token
  int32_t ffn = 0;          // width of one expert
  int32_t shared_ffn = 0;   // width of the shared experts together; 0: none
  int32_t first_dense = 0;  // leading layers that have a plain feed-forward network
  ExpertScoring scoring = ExpertScoring::kSoftmax;
  bool normalise = true;  // the chosen weights are divided by their sum
  float scale = 1;        // then multiplied by this
  // Experts are in `groups` equal groups; only the `groups_used` best (by their best expert) can be
  // chosen from.
  int32_t groups = 1;
  int32_t groups_used = 1;
};

// Multi-head latent attention (DeepSeek-V2): keys and values are made from a latent vector. The
// head of a query and a key is nope_dim + ModelConfig::rope_dim long.
struct MlaConfig {
  int32_t kv_lora = 0;  // width of the latent; 0: plain attention
  int32_t q_lora = 0;   // 0: queries come straight from the hidden state
  int32_t nope_dim = 0;
  int32_t v_dim = 0;
};

struct ModelConfig {
  std::string architecture;  // general.architecture, "llama"
  std::string name;          // general.name, may be empty
  int32_t layers = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;  // of queries and keys; of values too unless mla says otherwise
  int32_t hidden = 0;
  int32_t ffn = 0;
  int32_t vocab = 0;
  int32_t context_length = 0;

  // Norms. Each layer has one before attention and one before the feed-forward network.
  NormKind norm = NormKind::kRms;
  float norm_eps = 0;
  bool post_norms = false;  // also after each of them, before the residual sum (Gemma)
  bool qk_norm = false;     // RMS norm of every query and key head, [head_dim], before RoPE

  // Attention.
  bool attention_bias = false;      // of q, k and v
  bool attention_out_bias = false;  // of the output projection
  float attention_scale = 0;        // of q·k; 0: 1 / sqrt(head_dim)
  float attention_softcap = 0;      // scores become cap * tanh(score / cap); 0: they do not
  int32_t sliding_window = 0;       // tokens that a row sees, itself included; 0: all
  // [layers], 1 where the window holds; empty: everywhere. Only with sliding_window.
  std::vector<uint8_t> sliding_layers;
  MlaConfig mla;

  // Positions.
  bool learned_positions = false;  // a table added to the embeddings; rope_dim is then 0
  RopePairing rope_pairing = RopePairing::kNeighbours;
  int32_t rope_dim = 0;         // leading elements of a head that rotate (mla: trailing ones)
  float rope_base = 10000;      // theta
  float rope_base_sliding = 0;  // theta of sliding layers, unscaled; 0: like the others
  RopeScaling rope_scaling;
  std::vector<uint8_t> rope_layers;  // [layers], 0 where nothing rotates (SmolLM3); empty: all do

  // Feed-forward network: down(act(gate(x)) * up(x)), or down(act(up(x))) when it is not gated.
  bool gated_ffn = true;
  bool ffn_bias = false;
  Activation activation = Activation::kSilu;
  MoeConfig moe;

  // Scales and caps; 1 and 0 do nothing.
  float embedding_scale = 1;  // of the embeddings
  float residual_scale = 1;   // of what attention and feed-forward add
  float logit_scale = 1;      // of the logits, before their cap
  float logit_softcap = 0;

  bool tied_embeddings = false;
  int32_t bos_id = -1;           // -1: none
  std::vector<int32_t> eos_ids;  // end-of-sequence ids the metadata names (the tokenizer adds more)

  bool slides(int32_t layer) const {
    return sliding_window > 0 &&
           (sliding_layers.empty() || sliding_layers[static_cast<size_t>(layer)] != 0);
  }
  bool rotates(int32_t layer) const {
    return rope_dim > 0 && (rope_layers.empty() || rope_layers[static_cast<size_t>(layer)] != 0);
  }
  bool has_experts(int32_t layer) const { return moe.experts > 0 && layer >= moe.first_dense; }
  // Tokens of the first training.
  int32_t original_context() const {
    return rope_scaling.original_context > 0 ? rope_scaling.original_context : context_length;
  }
  // How many times longer than that the context is that the model was made for.
  double context_extension() const;
  // The long factors of kLongRope serve: for every row alike, so that a text's rows agree.
  bool serves_long_context() const { return context_length > original_context(); }
  // Serves less context than the model has; 0 or more than that changes nothing.
  void LimitContext(int32_t tokens);
  // Serves more, with positions that the model was not trained on.
  void ExtendContext(int32_t tokens);
  void SetContext(int32_t tokens);  // one of the two
  // What q·k is multiplied by.
  float score_scale() const;
  // Elements of a value head.
  int32_t value_dim() const { return mla.kv_lora > 0 ? mla.v_dim : head_dim; }

  // Bounds of every field, and the relations between them. The error names the GGUF key.
  absl::Status Validate() const;

  // Reads `<arch>.*` and `general.*`. Unsupported architectures and kinds are kUnimplemented;
  // missing or hostile values are kInvalidArgument naming the key.
  static absl::StatusOr<ModelConfig> FromGguf(const GgufFile& file);
};

}  // namespace weft
