// ModelConfig from GGUF metadata.
// Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <vector>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/model/model_config.h"

namespace weft {
namespace {

constexpr int64_t kMaxVocab = 1 << 24;  // see model_config.cc
constexpr int32_t kMaxLayers = 1024;
constexpr int32_t kMaxWidth = 1 << 20;

// Reads keys, remembering the first error, so that the list of keys reads as a list.
class Reader {
 public:
  Reader(const GgufFile& file, std::string_view arch) : file_(file), arch_(arch) {}

  std::string Key(std::string_view name) const { return fmt::format("{}.{}", arch_, name); }
  bool Has(std::string_view name) const { return file_.Has(Key(name)); }

  int32_t Count(std::string_view name, std::optional<int32_t> fallback = std::nullopt) {
    if (fallback.has_value() && !Has(name)) return *fallback;
    const absl::StatusOr<uint64_t> value = file_.GetUint(Key(name));
    if (!value.ok()) return Fail(value.status());
    if (*value > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) {
      return Fail(InvalidArgument("{}: {} is out of range", Key(name), *value));
    }
    return static_cast<int32_t>(*value);
  }
  float Real(std::string_view name, std::optional<float> fallback = std::nullopt) {
    if (fallback.has_value() && !Has(name)) return *fallback;
    const absl::StatusOr<double> value = file_.GetFloat(Key(name));
    if (!value.ok()) {
      Fail(value.status());
      return 0;
    }
    return static_cast<float>(*value);
  }
  bool Flag(std::string_view name, bool fallback) {
    if (!Has(name)) return fallback;
    const absl::StatusOr<bool> value = file_.GetBool(Key(name));
    if (!value.ok()) Fail(value.status());
    return value.ok() ? *value : fallback;
  }
  std::string Text(std::string_view key) {
    if (!file_.Has(key)) return "";
    const absl::StatusOr<std::string_view> value = file_.GetString(key);
    if (!value.ok()) {
      Fail(value.status());
      return "";
    }
    return std::string(*value);
  }
  int32_t Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
    return 0;
  }
  const absl::Status& status() const { return status_; }

 private:
  const GgufFile& file_;
  std::string_view arch_;
  absl::Status status_;
};

// The ids that the metadata itself names as ends; absent or negative ones are none.
absl::Status ReadSpecialIds(const GgufFile& file, ModelConfig& config) {
  const auto read = [&](std::string_view key) -> absl::StatusOr<int32_t> {
    if (!file.Has(key)) return -1;
    WEFT_ASSIGN_OR_RETURN(const int64_t id, file.GetInt(key));
    if (id >= config.vocab) {
      return InvalidArgument("{}: id {} is outside the vocabulary of {}", key, id, config.vocab);
    }
    return id < 0 ? -1 : static_cast<int32_t>(id);
  };
  WEFT_ASSIGN_OR_RETURN(config.bos_id, read("tokenizer.ggml.bos_token_id"));
  for (std::string_view key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    WEFT_ASSIGN_OR_RETURN(const int32_t id, read(key));
    const bool known = !config.eos_ids.empty() && config.eos_ids.front() == id;
    if (id >= 0 && !known) config.eos_ids.push_back(id);
  }
  return absl::OkStatus();
}

absl::StatusOr<int32_t> VocabularySize(const GgufFile& file, Reader& reader) {
  if (reader.Has("vocab_size")) return reader.Count("vocab_size");
  // Older files do not say; the embedding's shape does.
  const GgufFile::Tensor* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr || embedding->dims.size() != 2) {
    return InvalidArgument("{}: missing, and there is no 2-dimensional tensor token_embd.weight",
                           reader.Key("vocab_size"));
  }
  const int64_t rows = embedding->dims[1];
  if (rows > kMaxVocab) return InvalidArgument("tensor token_embd.weight: {} rows", rows);
  return static_cast<int32_t>(rows);
}

// [layers], 1 in every layer whose index modulo `period` is not `period` - 1.
std::vector<uint8_t> AllButEvery(int32_t period, int32_t layers) {
  std::vector<uint8_t> out(static_cast<size_t>(layers));
  for (int32_t i = 0; i < layers; ++i) out[static_cast<size_t>(i)] = (i + 1) % period != 0 ? 1 : 0;
  return out;
}

// One value for every layer: an array of them, or where `period` is allowed a number n, which says
// that every n-th layer has a 0. Empty when the key is absent.
std::vector<uint8_t> PerLayer(const GgufFile& file, Reader& reader, std::string_view name,
                              bool period, int32_t layers) {
  const std::string key = reader.Key(name);
  const GgufFile::Entry* entry = file.Find(key);
  if (entry == nullptr) return {};
  if (entry->type != GgufType::kArray && period) {
    const int32_t n = reader.Count(name);
    if (n > 0) return AllButEvery(n, layers);
    return std::vector<uint8_t>(static_cast<size_t>(layers), 1);  // 0: no layer is an exception
  }
  if (entry->type == GgufType::kArray && entry->count != static_cast<uint64_t>(layers)) {
    reader.Fail(InvalidArgument("{}: expected {} layers, found {}", key, layers, entry->count));
    return {};
  }
  std::vector<uint8_t> out;
  if (entry->type == GgufType::kArray && entry->element == GgufType::kBool) {
    for (const char value : entry->payload) out.push_back(value != 0 ? 1 : 0);
    return out;
  }
  const absl::StatusOr<std::vector<int64_t>> values = file.GetIntArray(key);
  if (!values.ok()) {
    reader.Fail(values.status());
    return {};
  }
  for (const int64_t value : *values) out.push_back(value != 0 ? 1 : 0);
  return out;
}

// What newer files say of each layer goes before what is known of the family.
void ReadLayerPatterns(const GgufFile& file, Reader& reader, ModelConfig& config) {
  const int32_t layers = config.layers;
  std::vector<uint8_t> slides =
      PerLayer(file, reader, "attention.sliding_window_pattern", /*period=*/true, layers);
  if (config.sliding_window > 0 && !slides.empty()) config.sliding_layers = std::move(slides);
  std::vector<uint8_t> rotates =
      PerLayer(file, reader, "attention.rope_pattern", /*period=*/false, layers);
  if (!rotates.empty()) config.rope_layers = std::move(rotates);
}

using Kind = RopeScaling::Kind;

void ReadRopeScaling(const GgufFile& file, Reader& reader, ModelConfig& config) {
  RopeScaling& scaling = config.rope_scaling;
  const std::string type = reader.Text(reader.Key("rope.scaling.type"));
  scaling.original_context = reader.Count("rope.scaling.original_context_length", 0);
  scaling.attention_factor = reader.Real("rope.scaling.attn_factor", 0.0f);
  if (file.FindTensor("rope_factors_long.weight") != nullptr || type == "longrope") {
    scaling.kind = Kind::kLongRope;
  } else if (type == "linear") {
    scaling.kind = Kind::kLinear;
    scaling.factor = reader.Real("rope.scaling.factor");
  } else if (type == "yarn") {
    scaling.kind = Kind::kYarn;
    scaling.factor = reader.Real("rope.scaling.factor");
    scaling.beta_fast = reader.Real("rope.scaling.yarn_beta_fast", scaling.beta_fast);
    scaling.beta_slow = reader.Real("rope.scaling.yarn_beta_slow", scaling.beta_slow);
    scaling.attention_factor = reader.Real("rope.scaling.yarn_attn_factor", 0.0f);
  } else if (file.Has(reader.Key("rope.scaling.dynamic_factor"))) {
    scaling.kind = Kind::kDynamic;
    scaling.factor = reader.Real("rope.scaling.dynamic_factor");
  } else if (type.empty() && reader.Has("rope.scale_linear")) {
    scaling.kind = Kind::kLinear;
    scaling.factor = reader.Real("rope.scale_linear");
  } else if (!type.empty() && type != "none") {
    reader.Fail(
        Unimplemented("{}: \"{}\" is not supported, only none, linear, yarn and longrope (llama3 "
                      "comes as the tensor rope_freqs.weight)",
                      reader.Key("rope.scaling.type"), type));
  }
}

void ReadExperts(Reader& reader, bool normalise, ModelConfig& config) {
  MoeConfig& moe = config.moe;
  moe.experts = reader.Count("expert_count", 0);
  if (moe.experts == 0) return;
  moe.used = reader.Count("expert_used_count");
  moe.ffn = reader.Count("expert_feed_forward_length", config.ffn);
  // As many shared experts of the same width, which make one network; or its width.
  const int64_t shared = static_cast<int64_t>(reader.Count("expert_shared_count", 0)) * moe.ffn;
  if (shared > kMaxWidth) {
    reader.Fail(InvalidArgument("{}: shared experts of {} together, expected at most {}",
                                reader.Key("expert_shared_count"), shared, kMaxWidth));
    return;
  }
  moe.shared_ffn = reader.Count("expert_shared_feed_forward_length", static_cast<int32_t>(shared));
  moe.first_dense = reader.Count("leading_dense_block_count", 0);
  moe.scale = reader.Real("expert_weights_scale", 1.0f);
  moe.normalise = reader.Flag("expert_weights_norm", normalise);
  moe.groups = reader.Count("expert_group_count", 1);
  moe.groups_used = reader.Count("expert_group_used_count", moe.groups);
  const int32_t scoring = reader.Count("expert_gating_func", 1);
  if (scoring == 2) {
    moe.scoring = ExpertScoring::kSigmoid;
  } else if (scoring != 1) {
    reader.Fail(Unimplemented("{}: {} is not supported, only 1 (softmax) and 2 (sigmoid)",
                              reader.Key("expert_gating_func"), scoring));
  }
}

// What a family does that its metadata does not say.
void Llama(Reader& reader, ModelConfig& config) {
  ReadExperts(reader, /*normalise=*/true, config);  // Mixtral
}

void SmolLm3(Reader&, ModelConfig& config) { config.rope_layers = AllButEvery(4, config.layers); }

void Halves(Reader&, ModelConfig& config) { config.rope_pairing = RopePairing::kHalves; }

void Qwen3Moe(Reader& reader, ModelConfig& config) {
  Halves(reader, config);
  ReadExperts(reader, /*normalise=*/true, config);
}

void DeepSeek2(Reader& reader, ModelConfig& config) {
  ReadExperts(reader, /*normalise=*/false, config);
  MlaConfig& mla = config.mla;
  mla.kv_lora = reader.Count("attention.kv_lora_rank");
  mla.q_lora = reader.Count("attention.q_lora_rank", 0);
  // Newer files describe the latent cache by key_length, and heads by key_length_mla.
  config.head_dim = reader.Count("attention.key_length_mla", config.head_dim);
  mla.v_dim = reader.Count("attention.value_length", config.head_dim);
  mla.v_dim = reader.Count("attention.value_length_mla", mla.v_dim);
  mla.nope_dim = config.head_dim - config.rope_dim;
  config.kv_heads = config.heads;
  RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind != Kind::kYarn) return;
  // 0.1 mscale, one for both: cosines and sines keep their size, scores do not.
  scaling.mscale = scaling.mscale_all_dim =
      10 * reader.Real("rope.scaling.yarn_log_multiplier", 0.0f);
  if (scaling.mscale == 0 && scaling.attention_factor == 0) scaling.attention_factor = 1;
}

void Granite(Reader& reader, ModelConfig& config) {
  config.embedding_scale = reader.Real("embedding_scale", 1.0f);
  config.residual_scale = reader.Real("residual_scale", 1.0f);
  config.logit_scale = 1.0f / reader.Real("logit_scale", 1.0f);
}

void StarCoder2(Reader& reader, ModelConfig& config) {
  Halves(reader, config);
  config.gated_ffn = false;
  config.activation = Activation::kGeluTanh;
}

void StarCoder(Reader&, ModelConfig& config) {
  config.learned_positions = true;
  config.rope_dim = 0;
  config.gated_ffn = false;
  config.activation = Activation::kGeluTanh;
}

void Gemma(Reader& reader, ModelConfig& config) {
  Halves(reader, config);
  config.activation = Activation::kGeluTanh;
  config.embedding_scale = std::sqrt(static_cast<float>(config.hidden));
}

// The largest of a generation scales queries by its hidden size per head, not by its head_dim; the
// metadata does not say so, the number of layers tells.
void ScaleOfLargest(int32_t layers, ModelConfig& config) {
  if (config.layers != layers || config.attention_scale > 0) return;
  const auto heads = static_cast<float>(config.heads);
  config.attention_scale = std::sqrt(heads / static_cast<float>(config.hidden));
}

void Gemma2(Reader& reader, ModelConfig& config) {
  Gemma(reader, config);
  config.post_norms = true;
  config.attention_softcap = reader.Real("attn_logit_softcapping", 50.0f);
  config.logit_softcap = reader.Real("final_logit_softcapping", 30.0f);
  config.sliding_layers = AllButEvery(2, config.layers);
  ScaleOfLargest(46, config);
}

void Gemma3(Reader& reader, ModelConfig& config) {
  Gemma(reader, config);
  config.post_norms = true;
  config.logit_softcap = reader.Real("final_logit_softcapping", 0.0f);
  config.sliding_layers = AllButEvery(6, config.layers);
  config.rope_base_sliding = reader.Real("rope.freq_base_swa", 10000.0f);
  if (!reader.Has("rope.freq_base")) config.rope_base = 1e6f;
  ScaleOfLargest(62, config);
}

struct Family {
  std::string_view architecture;
  NormKind norm;
  void (*complete)(Reader&, ModelConfig&);
};
constexpr Family kFamilies[] = {
    {"llama", NormKind::kRms, Llama},
    {"smollm3", NormKind::kRms, SmolLm3},
    {"qwen2", NormKind::kRms, Halves},
    {"qwen3", NormKind::kRms, Halves},
    {"qwen3moe", NormKind::kRms, Qwen3Moe},
    {"deepseek2", NormKind::kRms, DeepSeek2},
    {"granite", NormKind::kRms, Granite},
    {"phi3", NormKind::kRms, Halves},
    {"starcoder2", NormKind::kLayer, StarCoder2},
    {"starcoder", NormKind::kLayer, StarCoder},
    {"gemma", NormKind::kRms, Gemma},
    {"gemma2", NormKind::kRms, Gemma2},
    {"gemma3", NormKind::kRms, Gemma3},
};

absl::StatusOr<const Family*> FamilyOf(std::string_view architecture) {
  std::string names;
  for (const Family& family : kFamilies) {
    if (family.architecture == architecture) return &family;
    fmt::format_to(std::back_inserter(names), " {}", family.architecture);
  }
  return Unimplemented("general.architecture: \"{}\" is not supported, only{}", architecture,
                       names);
}

}  // namespace

absl::StatusOr<ModelConfig> ModelConfig::FromGguf(const GgufFile& file) {
  ModelConfig config;
  WEFT_ASSIGN_OR_RETURN(const std::string_view arch, file.GetString("general.architecture"));
  WEFT_ASSIGN_OR_RETURN(const Family* family, FamilyOf(arch));
  config.architecture = std::string(arch);
  config.norm = family->norm;
  Reader reader(file, config.architecture);
  config.name = reader.Text("general.name");
  config.layers = reader.Count("block_count");
  config.hidden = reader.Count("embedding_length");
  config.ffn = reader.Count("feed_forward_length");
  config.context_length = reader.Count("context_length");
  config.heads = reader.Count("attention.head_count");
  config.kv_heads = reader.Count("attention.head_count_kv", config.heads);
  const int32_t quotient = config.heads > 0 ? config.hidden / config.heads : 0;
  config.head_dim = reader.Count("attention.key_length", quotient);
  config.norm_eps = reader.Real(config.norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon"
                                                              : "attention.layer_norm_epsilon");
  config.attention_scale = reader.Real("attention.scale", 0.0f);
  config.sliding_window = reader.Count("attention.sliding_window", 0);
  config.rope_dim = reader.Count("rope.dimension_count", config.head_dim);
  config.rope_base = reader.Real("rope.freq_base", 10000.0f);
  ReadRopeScaling(file, reader, config);
  WEFT_RETURN_IF_ERROR(reader.status());
  if (config.layers > kMaxLayers) {
    return InvalidArgument("{}: expected at most {}, found {}", reader.Key("block_count"),
                           kMaxLayers, config.layers);
  }

  // Presence of tensors says what the metadata leaves out.
  const auto has = [&](std::string_view part) {
    return file.FindTensor(fmt::format("blk.0.{}", part)) != nullptr;
  };
  config.attention_bias = has("attn_q.bias") || has("attn_qkv.bias");
  config.attention_out_bias = has("attn_output.bias");
  config.ffn_bias = has("ffn_up.bias");
  config.qk_norm = has("attn_q_norm.weight");
  config.tied_embeddings = file.FindTensor("output.weight") == nullptr;
  family->complete(reader, config);
  ReadLayerPatterns(file, reader, config);
  const bool latent = config.mla.kv_lora > 0;
  const int32_t value_dim = reader.Count("attention.value_length", config.head_dim);
  if (!latent && value_dim != config.head_dim) {
    return Unimplemented("{}: {} differs from key_length {}, which is not supported",
                         reader.Key("attention.value_length"), value_dim, config.head_dim);
  }
  if (reader.Count("expert_count", 0) != config.moe.experts) {
    return Unimplemented("{}: architecture {} has no mixture of experts here",
                         reader.Key("expert_count"), arch);
  }
  WEFT_ASSIGN_OR_RETURN(config.vocab, VocabularySize(file, reader));
  WEFT_RETURN_IF_ERROR(reader.status());
  WEFT_RETURN_IF_ERROR(config.Validate());
  WEFT_RETURN_IF_ERROR(ReadSpecialIds(file, config));
  return config;
}

}  // namespace weft
