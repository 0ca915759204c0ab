#include "libs/model/hf_config.h"

#include <algorithm>
#include <cmath>

#include "libs/json/strict_json.h"
#include "libs/model/hf_json.h"
#include "libs/model/hf_rope.h"

namespace weft {
namespace {

using nlohmann::json;

// As in model_config.cc: far beyond any model that fits a host.
constexpr int32_t kMaxLayers = 1024;
constexpr int32_t kMaxHeads = 4096;
constexpr int32_t kMaxHeadDim = 512;
constexpr int32_t kMaxWidth = 1 << 20;
constexpr int32_t kMaxVocab = 1 << 24;
constexpr int32_t kMaxContext = 1 << 24;
constexpr int32_t kMaxExperts = 4096;
constexpr JsonLimits kJsonLimits{.depth = 16, .values = 100'000};
constexpr size_t kMaxBytes = 4 << 20;

void Unsupported(JsonReader& reader, std::string_view key, std::string_view found,
                 std::string_view supported) {
  reader.Fail(Unimplemented("{}: {}: {} is not supported, only {}", reader.where(), key,
                            found.substr(0, 80), supported));
}

// ---- Parts that several families share

void ReadSizes(JsonReader& reader, ModelConfig& config) {
  config.vocab = reader.Count("vocab_size", 1, kMaxVocab);
  config.hidden = reader.Count("hidden_size", 1, kMaxWidth);
  config.ffn = reader.Count("intermediate_size", 1, kMaxWidth);
  config.layers = reader.Count("num_hidden_layers", 1, kMaxLayers);
  config.heads = reader.Count("num_attention_heads", 1, kMaxHeads);
  config.kv_heads = reader.Count("num_key_value_heads", 1, kMaxHeads, config.heads);
  config.context_length = reader.Count("max_position_embeddings", 1, kMaxContext);
  const int32_t quotient = config.heads > 0 ? config.hidden / config.heads : 0;
  config.head_dim = reader.Count("head_dim", 1, kMaxHeadDim, quotient);
}

void ReadActivation(JsonReader& reader, std::string_view key, ModelConfig& config) {
  const std::string name = reader.Text(key, "silu");
  if (name == "silu" || name == "swish") {
    config.activation = Activation::kSilu;
  } else if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") {
    config.activation = Activation::kGeluTanh;
  } else if (name == "gelu") {
    config.activation = Activation::kGelu;
  } else {
    Unsupported(reader, key, '"' + name + '"', "silu, gelu and gelu_pytorch_tanh");
  }
}

// Sizes, RMS norms, an activation, positions that rotate in halves.
void ReadLlamaLike(JsonReader& reader, bool tied, ModelConfig& config) {
  ReadSizes(reader, config);
  config.norm_eps = reader.Real("rms_norm_eps", 1e-6f);
  ReadActivation(reader, "hidden_act", config);
  config.rope_pairing = RopePairing::kHalves;
  config.tied_embeddings = reader.Flag("tie_word_embeddings", tied);
  if (reader.status().ok()) ReadHfRope(reader, config);
}

void ReadBias(JsonReader& reader, ModelConfig& config) {
  config.attention_bias = reader.Flag("attention_bias", false);
  config.attention_out_bias = config.attention_bias;
  config.ffn_bias = reader.Flag("mlp_bias", false);
}

void ReadWindow(JsonReader& reader, ModelConfig& config) {
  config.sliding_window = reader.Count("sliding_window", 1, INT32_MAX, 0);
  // A window as long as the context hides nothing.
  if (config.sliding_window >= config.context_length) config.sliding_window = 0;
}

// layer_types, if it is there, else what `slides` says of each layer.
template <typename Slides>
void ReadLayerTypes(JsonReader& reader, ModelConfig& config, Slides slides) {
  if (config.sliding_window == 0) return;
  const std::vector<std::string> types = reader.Texts("layer_types", kMaxLayers);
  if (!types.empty() && types.size() != static_cast<size_t>(config.layers)) {
    reader.Fail(InvalidArgument("{}: layer_types: expected {} layers, found {}", reader.where(),
                                config.layers, types.size()));
    return;
  }
  for (int32_t i = 0; i < config.layers; ++i) {
    if (types.empty()) {
      config.sliding_layers.push_back(slides(i) ? 1 : 0);
      continue;
    }
    const std::string& type = types[static_cast<size_t>(i)];
    if (type != "sliding_attention" && type != "full_attention") {
      Unsupported(reader, "layer_types", '"' + type + '"', "sliding_attention and full_attention");
      return;
    }
    config.sliding_layers.push_back(type == "sliding_attention" ? 1 : 0);
  }
  const auto& layers = config.sliding_layers;
  if (std::find(layers.begin(), layers.end(), 1) == layers.end()) {
    config.sliding_window = 0;
    config.sliding_layers.clear();
  } else if (std::find(layers.begin(), layers.end(), 0) == layers.end()) {
    config.sliding_layers.clear();  // all of them
  }
}

// Qwen 2 and 3: the first max_window_layers layers see everything.
void ReadOptionalWindow(JsonReader& reader, ModelConfig& config) {
  if (!reader.Flag("use_sliding_window", false)) return;
  ReadWindow(reader, config);
  const int32_t full = reader.Count("max_window_layers", 0, INT32_MAX, config.layers);
  ReadLayerTypes(reader, config, [full](int32_t i) { return i >= full; });
}

// ---- Families

void ReadLlama(JsonReader& reader, HfConfig& out) {
  ReadLlamaLike(reader, false, out.model);
  ReadBias(reader, out.model);
}

void ReadMistral(JsonReader& reader, HfConfig& out) {
  ReadLlamaLike(reader, false, out.model);
  ReadWindow(reader, out.model);
}

void ReadMixtral(JsonReader& reader, HfConfig& out) {
  ReadMistral(reader, out);
  out.layout = HfLayout::kMixtral;
  MoeConfig& moe = out.model.moe;
  moe.experts = reader.Count("num_local_experts", 1, kMaxExperts);
  moe.used = reader.Count("num_experts_per_tok", 1, kMaxExperts);
  moe.ffn = out.model.ffn;
}

void ReadQwen2(JsonReader& reader, HfConfig& out) {
  ReadLlamaLike(reader, false, out.model);
  out.model.attention_bias = true;
  ReadOptionalWindow(reader, out.model);
}

void ReadQwen3(JsonReader& reader, HfConfig& out) {
  ReadLlamaLike(reader, false, out.model);
  ReadBias(reader, out.model);
  out.model.qk_norm = true;
  ReadOptionalWindow(reader, out.model);
}

void ReadQwen3Moe(JsonReader& reader, HfConfig& out) {
  ModelConfig& config = out.model;
  ReadLlamaLike(reader, false, config);
  ReadBias(reader, config);
  config.qk_norm = true;
  if (reader.Flag("use_sliding_window", false)) ReadWindow(reader, config);
  MoeConfig& moe = config.moe;
  const char* count = reader.Has("num_experts") ? "num_experts" : "num_local_experts";
  moe.experts = reader.Count(count, 1, kMaxExperts);
  moe.used = reader.Count("num_experts_per_tok", 1, kMaxExperts);
  moe.ffn = reader.Count("moe_intermediate_size", 1, kMaxWidth);
  moe.normalise = reader.Flag("norm_topk_prob", false);
  if (reader.Count("decoder_sparse_step", 1, kMaxLayers, 1) != 1) {
    Unsupported(reader, "decoder_sparse_step", "more than 1", "1");
  }
  std::vector<int32_t> dense = reader.Counts("mlp_only_layers", kMaxLayers);
  std::sort(dense.begin(), dense.end());
  for (size_t i = 0; i < dense.size(); ++i) {
    if (dense[i] != static_cast<int32_t>(i)) {
      Unsupported(reader, "mlp_only_layers", fmt::format("layer {}", dense[i]), "leading layers");
      return;
    }
  }
  moe.first_dense = static_cast<int32_t>(dense.size());
}

void ReadStarCoder2(JsonReader& reader, HfConfig& out) {
  ModelConfig& config = out.model;
  out.layout = HfLayout::kStarCoder2;
  ReadSizes(reader, config);
  config.norm = NormKind::kLayer;
  config.norm_eps = reader.Real("norm_epsilon", 1e-5f);
  ReadActivation(reader, "hidden_act", config);
  config.gated_ffn = false;
  config.attention_bias = reader.Flag("use_bias", true);
  config.attention_out_bias = config.attention_bias;
  config.ffn_bias = config.attention_bias;
  config.rope_pairing = RopePairing::kHalves;
  config.tied_embeddings = reader.Flag("tie_word_embeddings", true);
  if (!reader.status().ok()) return;
  ReadHfRope(reader, config);
  ReadWindow(reader, config);
}

void ReadGptBigCode(JsonReader& reader, HfConfig& out) {
  ModelConfig& config = out.model;
  out.layout = HfLayout::kStarCoder;
  config.vocab = reader.Count("vocab_size", 1, kMaxVocab);
  config.hidden = reader.Count("n_embd", 1, kMaxWidth / 4);
  config.layers = reader.Count("n_layer", 1, kMaxLayers);
  config.heads = reader.Count("n_head", 1, kMaxHeads);
  config.context_length = reader.Count("n_positions", 1, kMaxContext);
  config.ffn = reader.Count("n_inner", 1, kMaxWidth, 4 * config.hidden);
  config.kv_heads = 1;
  if (!reader.Flag("multi_query", true)) Unsupported(reader, "multi_query", "false", "true");
  if (!reader.Flag("scale_attn_weights", true)) {
    Unsupported(reader, "scale_attn_weights", "false", "true");
  }
  if (config.heads > 0) config.head_dim = config.hidden / config.heads;
  config.norm = NormKind::kLayer;
  config.norm_eps = reader.Real("layer_norm_epsilon", 1e-5f);
  ReadActivation(reader, "activation_function", config);
  config.gated_ffn = false;
  config.attention_bias = true;
  config.attention_out_bias = true;
  config.ffn_bias = true;
  config.learned_positions = true;
  config.tied_embeddings = reader.Flag("tie_word_embeddings", true);
}

// What Gemma 2 and 3 share.
void ReadGemma(JsonReader& reader, HfConfig& out) {
  ModelConfig& config = out.model;
  out.layout = HfLayout::kGemma;
  ReadLlamaLike(reader, true, config);
  ReadBias(reader, config);
  // Older files say "gelu" under hidden_act and mean the approximation.
  config.activation = Activation::kGeluTanh;
  if (reader.Has("hidden_activation")) ReadActivation(reader, "hidden_activation", config);
  config.post_norms = true;
  config.embedding_scale = std::sqrt(static_cast<float>(config.hidden));
  const float scalar = reader.Real("query_pre_attn_scalar", 256.0f);
  if (!(scalar > 0)) {
    reader.Fail(InvalidArgument("{}: query_pre_attn_scalar: expected a value above 0, found {}",
                                reader.where(), scalar));
  }
  config.attention_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(scalar)));
  config.attention_softcap = reader.Real("attn_logit_softcapping", 0.0f);
  config.logit_softcap = reader.Real("final_logit_softcapping", 0.0f);
  ReadWindow(reader, config);
}

void ReadGemma2(JsonReader& reader, HfConfig& out) {
  ReadGemma(reader, out);
  ReadLayerTypes(reader, out.model, [](int32_t i) { return i % 2 == 0; });
}

void ReadGemma3(JsonReader& reader, HfConfig& out) {
  ReadGemma(reader, out);
  ModelConfig& config = out.model;
  config.qk_norm = true;
  const char* key =
      reader.Has("sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
  const int32_t pattern = reader.Count(key, 1, kMaxLayers, 6);
  if (!reader.status().ok()) return;
  ReadLayerTypes(reader, config, [pattern](int32_t i) { return (i + 1) % pattern != 0; });
  if (config.rope_base_sliding == 0) config.rope_base_sliding = 10000;
}

void ReadPhi3(JsonReader& reader, HfConfig& out) {
  out.layout = HfLayout::kPhi3;
  ReadLlamaLike(reader, false, out.model);
  ReadWindow(reader, out.model);
}

void ReadGranite(JsonReader& reader, HfConfig& out) {
  ModelConfig& config = out.model;
  ReadLlamaLike(reader, false, config);
  ReadBias(reader, config);
  config.embedding_scale = reader.Real("embedding_multiplier", 1.0f);
  config.residual_scale = reader.Real("residual_multiplier", 1.0f);
  config.attention_scale = reader.Real("attention_multiplier", 1.0f);
  const float scaling = reader.Real("logits_scaling", 1.0f);
  if (!(scaling > 0)) {
    reader.Fail(InvalidArgument("{}: logits_scaling: expected a value above 0, found {}",
                                reader.where(), scaling));
  }
  config.logit_scale = 1 / scaling;
}

void ReadDeepSeek2(JsonReader& reader, HfConfig& out) {
  ModelConfig& config = out.model;
  out.layout = HfLayout::kDeepSeek;
  ReadSizes(reader, config);
  config.norm_eps = reader.Real("rms_norm_eps", 1e-6f);
  ReadActivation(reader, "hidden_act", config);
  config.tied_embeddings = reader.Flag("tie_word_embeddings", false);
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (reader.Flag(key, false)) Unsupported(reader, key, "true", "false");
  }
  MlaConfig& mla = config.mla;
  mla.kv_lora = reader.Count("kv_lora_rank", 1, kMaxWidth);
  mla.q_lora = reader.Count("q_lora_rank", 1, kMaxWidth, 0);
  mla.nope_dim = reader.Count("qk_nope_head_dim", 1, kMaxHeadDim);
  mla.v_dim = reader.Count("v_head_dim", 1, kMaxHeadDim);
  config.head_dim = reader.Count("qk_rope_head_dim", 2, kMaxHeadDim);
  config.kv_heads = config.heads;
  config.rope_pairing = RopePairing::kNeighbours;
  if (!reader.status().ok()) return;
  ReadHfRope(reader, config);  // of the rotating part, which is all of it here
  config.head_dim += mla.nope_dim;
  // Attention is sharpened as the frequencies are stretched: the scores grow with mscale squared.
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind == RopeScaling::Kind::kYarn && scaling.mscale_all_dim != 0 &&
      scaling.factor > 1) {
    const double mscale = 0.1 * scaling.mscale_all_dim * std::log(scaling.factor) + 1;
    config.attention_scale =
        static_cast<float>(mscale * mscale / std::sqrt(static_cast<double>(config.head_dim)));
  }

  MoeConfig& moe = config.moe;
  moe.experts = reader.Count("n_routed_experts", 0, kMaxExperts, 0);
  if (moe.experts == 0) return;
  moe.used = reader.Count("num_experts_per_tok", 1, kMaxExperts);
  moe.ffn = reader.Count("moe_intermediate_size", 1, kMaxWidth);
  const int32_t shared = reader.Count("n_shared_experts", 0, 64, 0);
  moe.shared_ffn = shared * std::min(moe.ffn, kMaxWidth / 64);
  moe.first_dense = reader.Count("first_k_dense_replace", 0, config.layers, 0);
  moe.scale = reader.Real("routed_scaling_factor", 1.0f);
  moe.normalise = false;
  if (reader.Flag("norm_topk_prob", false)) Unsupported(reader, "norm_topk_prob", "true", "false");
  if (reader.Count("moe_layer_freq", 1, kMaxLayers, 1) != 1) {
    Unsupported(reader, "moe_layer_freq", "more than 1", "1");
  }
  if (const std::string scoring = reader.Text("scoring_func", "softmax"); scoring != "softmax") {
    Unsupported(reader, "scoring_func", '"' + scoring + '"', "softmax");
  }
  const std::string method = reader.Text("topk_method", "greedy");
  if (method == "group_limited_greedy") {
    moe.groups = reader.Count("n_group", 1, kMaxExperts);
    moe.groups_used = reader.Count("topk_group", 1, kMaxExperts);
  } else if (method != "greedy") {
    Unsupported(reader, "topk_method", '"' + method + '"', "greedy and group_limited_greedy");
  }
}

void ReadSmolLm3(JsonReader& reader, HfConfig& out) {
  ModelConfig& config = out.model;
  ReadLlamaLike(reader, true, config);
  ReadBias(reader, config);
  ReadOptionalWindow(reader, config);
  const std::vector<int32_t> rotates = reader.Counts("no_rope_layers", kMaxLayers);
  const int32_t interval = reader.Count("no_rope_layer_interval", 1, kMaxLayers, 4);
  if (!reader.status().ok()) return;
  if (!rotates.empty() && rotates.size() != static_cast<size_t>(config.layers)) {
    reader.Fail(InvalidArgument("{}: no_rope_layers: expected {} layers, found {}", reader.where(),
                                config.layers, rotates.size()));
    return;
  }
  // Despite its name a 1 says that the layer rotates.
  for (int32_t i = 0; i < config.layers; ++i) {
    const bool on =
        rotates.empty() ? (i + 1) % interval != 0 : rotates[static_cast<size_t>(i)] != 0;
    config.rope_layers.push_back(on ? 1 : 0);
  }
}

struct Family {
  std::string_view model_type;    // config.json's
  std::string_view architecture;  // the name of the same in GGUF
  void (*read)(JsonReader&, HfConfig&);
};
constexpr Family kFamilies[] = {
    {"llama", "llama", ReadLlama},
    {"mistral", "llama", ReadMistral},
    {"mixtral", "llama", ReadMixtral},
    {"qwen2", "qwen2", ReadQwen2},
    {"qwen3", "qwen3", ReadQwen3},
    {"qwen3_moe", "qwen3moe", ReadQwen3Moe},
    {"starcoder2", "starcoder2", ReadStarCoder2},
    {"gpt_bigcode", "starcoder", ReadGptBigCode},
    {"gemma2", "gemma2", ReadGemma2},
    {"gemma3_text", "gemma3", ReadGemma3},
    {"phi3", "phi3", ReadPhi3},
    {"granite", "granite", ReadGranite},
    {"deepseek_v2", "deepseek2", ReadDeepSeek2},
    {"smollm3", "smollm3", ReadSmolLm3},
};

// Only FP8 weights; how activations are quantised elsewhere does not matter, ours are not.
void ReadQuantization(JsonReader& reader, HfConfig& out) {
  const char* key = "quantization_config";
  const json* object = reader.Find(key);
  if (object == nullptr) return;
  if (!object->is_object()) {
    reader.Fail(InvalidArgument("{}: {}: expected an object", reader.where(), key));
    return;
  }
  JsonReader quantization(*object, reader.where() + ": " + key);
  const std::string method = quantization.Text("quant_method");
  const std::string format = quantization.Text("format", "float-quantized");
  if (method != "fp8" && !(method == "compressed-tensors" && format == "float-quantized")) {
    Unsupported(quantization, "quant_method", '"' + method + "\" (" + format + ")",
                "fp8 and compressed-tensors with float-quantized");
  }
  out.fp8 = true;
  const std::vector<int32_t> block = quantization.Counts("weight_block_size", 2);
  if (!block.empty()) {
    if (block.size() != 2 || block[0] < 1 || block[1] < 1) {
      quantization.Fail(InvalidArgument("{}: weight_block_size: expected two sizes above 0",
                                        quantization.where()));
    } else {
      out.fp8_block_rows = block[0];
      out.fp8_block_cols = block[1];
    }
  }
  reader.Fail(quantization.status());
}

// A number or a list of them.
void ReadIds(JsonReader& reader, std::string_view key, const ModelConfig& config,
             std::vector<int32_t>& out) {
  const json* value = reader.Find(key);
  if (value == nullptr) return;
  std::vector<int32_t> ids;
  if (value->is_array()) {
    ids = reader.Counts(key, 256);
  } else {
    const int32_t id = reader.Count(key, -1, INT32_MAX);
    if (id >= 0) ids.push_back(id);
  }
  for (const int32_t id : ids) {
    if (id >= config.vocab) {
      reader.Fail(InvalidArgument("{}: {}: id {} is outside the vocabulary of {}", reader.where(),
                                  key, id, config.vocab));
      return;
    }
    if (std::find(out.begin(), out.end(), id) == out.end()) out.push_back(id);
  }
}

absl::StatusOr<json> ParseObject(std::string_view text, std::string_view name) {
  if (text.size() > kMaxBytes) {
    return InvalidArgument("{}: {} bytes, the limit is {}", name, text.size(), kMaxBytes);
  }
  absl::StatusOr<json> value = ParseStrictJson(text, kJsonLimits);
  if (!value.ok()) return Annotate(value.status(), name);
  if (!value->is_object()) return InvalidArgument("{}: expected an object", name);
  return value;
}

}  // namespace

absl::StatusOr<HfConfig> ParseHfConfig(std::string_view config_text, std::string_view generation) {
  WEFT_ASSIGN_OR_RETURN(const json document, ParseObject(config_text, "config.json"));
  JsonReader reader(document, "config.json");
  const std::string type = reader.Text("model_type");
  const auto* family =
      std::find_if(std::begin(kFamilies), std::end(kFamilies),
                   [&](const Family& candidate) { return candidate.model_type == type; });
  if (family == std::end(kFamilies)) {
    WEFT_RETURN_IF_ERROR(reader.status());
    std::string known;
    for (const Family& each : kFamilies) known += fmt::format(" {}", each.model_type);
    return Unimplemented("config.json: model_type: \"{}\" is not supported, only{}",
                         type.substr(0, 80), known);
  }
  HfConfig out;
  out.model.architecture = std::string(family->architecture);
  family->read(reader, out);
  ReadQuantization(reader, out);

  // Chat models name more ends in generation_config.json than in config.json.
  if (!generation.empty()) {
    WEFT_ASSIGN_OR_RETURN(const json object, ParseObject(generation, "generation_config.json"));
    JsonReader generation_reader(object, "generation_config.json");
    ReadIds(generation_reader, "eos_token_id", out.model, out.model.eos_ids);
    WEFT_RETURN_IF_ERROR(generation_reader.status());
  }
  std::vector<int32_t> bos;
  ReadIds(reader, "eos_token_id", out.model, out.model.eos_ids);
  ReadIds(reader, "bos_token_id", out.model, bos);
  WEFT_RETURN_IF_ERROR(reader.status());
  if (!bos.empty()) out.model.bos_id = bos.front();
  if (absl::Status status = out.model.Validate(); !status.ok()) {
    return Annotate(std::move(status), "config.json");
  }
  return out;
}

}  // namespace weft
