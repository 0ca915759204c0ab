#include "libs/model/model_config.h"

#include <cmath>

#include "libs/base/status.h"

namespace weft {
namespace {

// Bounds far beyond any model that fits a CPU host, and small enough that products of two of them
// stay within 64 bits.
constexpr int32_t kMaxLayers = 1024;
constexpr int32_t kMaxHeads = 4096;
constexpr int32_t kMaxHeadDim = 512;
constexpr int32_t kMaxWidth = 1 << 20;
constexpr int32_t kMaxVocab = 1 << 24;
constexpr int32_t kMaxContext = 1 << 24;
constexpr int32_t kMaxExperts = 4096;
constexpr float kMaxScale = 1e6f;

// Checks that remember the first error, so that the list of fields reads as a list.
class Checker {
 public:
  explicit Checker(std::string_view arch) : arch_(arch) {}

  void Count(std::string_view key, int64_t value, int64_t low, int64_t high) {
    if (value >= low && value <= high) return;
    Fail(InvalidArgument("{}.{}: expected a value in [{}, {}], found {}", arch_, key, low, high,
                         value));
  }
  // (low, high], so that 0 can be left out; NaN is outside.
  void Real(std::string_view key, float value, float low, float high) {
    if (value > low && value <= high) return;
    Fail(InvalidArgument("{}.{}: expected a value in ({}, {}], found {}", arch_, key, low, high,
                         value));
  }
  void OptionalReal(std::string_view key, float value, float high) {
    if (value != 0) Real(key, value, 0, high);
  }
  void PerLayer(std::string_view key, size_t found, int32_t layers) {
    if (found == 0 || found == static_cast<size_t>(layers)) return;
    Fail(InvalidArgument("{}.{}: expected {} layers, found {}", arch_, key, layers, found));
  }
  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const absl::Status& status() const { return status_; }

 private:
  std::string_view arch_;
  absl::Status status_;
};

void CheckFactors(std::string_view arch, std::string_view key, const std::vector<float>& factors,
                  int32_t pairs, Checker& check) {
  if (factors.empty()) return;
  if (factors.size() != static_cast<size_t>(pairs)) {
    check.Fail(
        InvalidArgument("{}.{}: expected {} factors, found {}", arch, key, pairs, factors.size()));
  }
  for (const float factor : factors) check.Real(key, factor, 0, kMaxScale);
}

void CheckRope(const ModelConfig& config, Checker& check) {
  const std::string_view arch = config.architecture;
  const int32_t least = config.learned_positions ? 0 : 2;
  check.Count("rope.dimension_count", config.rope_dim, least, config.head_dim);
  if (config.rope_dim % 2 != 0) {
    check.Fail(InvalidArgument("{}.rope.dimension_count: {} is odd", arch, config.rope_dim));
  }
  check.Real("rope.freq_base", config.rope_base, 1, 1e12f);
  if (config.rope_base_sliding != 0) {
    check.Real("rope.freq_base_swa", config.rope_base_sliding, 1, 1e12f);
  }
  check.PerLayer("rope layers", config.rope_layers.size(), config.layers);

  const RopeScaling& scaling = config.rope_scaling;
  using Kind = RopeScaling::Kind;
  check.Real("rope.scaling.factor", scaling.factor, 0, kMaxScale);
  check.Count("rope.scaling.original_context_length", scaling.original_context, 0, kMaxContext);
  if (scaling.kind == Kind::kLlama3) {
    check.Real("rope.scaling.low_freq_factor", scaling.low_freq_factor, 0, kMaxScale);
    check.Real("rope.scaling.high_freq_factor", scaling.high_freq_factor, scaling.low_freq_factor,
               kMaxScale);
  }
  if (scaling.kind == Kind::kYarn) {
    check.Real("rope.scaling.yarn_beta_slow", scaling.beta_slow, 0, kMaxScale);
    check.Real("rope.scaling.yarn_beta_fast", scaling.beta_fast, scaling.beta_slow, kMaxScale);
    check.OptionalReal("rope.scaling.mscale", scaling.mscale, kMaxScale);
    check.OptionalReal("rope.scaling.mscale_all_dim", scaling.mscale_all_dim, kMaxScale);
  }
  check.OptionalReal("rope.scaling.attn_factor", scaling.attention_factor, kMaxScale);
  const int32_t pairs = config.rope_dim / 2;
  CheckFactors(arch, "rope.scaling.short_factor", scaling.short_factors, pairs, check);
  CheckFactors(arch, "rope.scaling.long_factor", scaling.long_factors, pairs, check);
}

void CheckExperts(const ModelConfig& config, Checker& check) {
  const MoeConfig& moe = config.moe;
  check.Count("expert_count", moe.experts, 0, kMaxExperts);
  if (moe.experts == 0) return;
  check.Count("expert_used_count", moe.used, 1, moe.experts);
  check.Count("expert_feed_forward_length", moe.ffn, 1, kMaxWidth);
  check.Count("expert_shared_feed_forward_length", moe.shared_ffn, 0, kMaxWidth);
  check.Count("leading_dense_block_count", moe.first_dense, 0, config.layers);
  check.Real("expert_weights_scale", moe.scale, 0, kMaxScale);
  check.Count("expert_group_count", moe.groups, 1, moe.experts);
  check.Count("expert_group_used_count", moe.groups_used, 1, moe.groups);
  if (!check.status().ok()) return;
  const int32_t per_group = moe.experts / moe.groups;
  if (moe.experts % moe.groups != 0 || moe.groups_used * per_group < moe.used) {
    check.Fail(InvalidArgument(
        "{}.expert_group_count: {} groups of {} experts, {} groups used, cannot give {} experts",
        config.architecture, moe.groups, moe.experts, moe.groups_used, moe.used));
  }
}

void CheckLatentAttention(const ModelConfig& config, Checker& check) {
  const MlaConfig& mla = config.mla;
  check.Count("attention.kv_lora_rank", mla.kv_lora, 0, kMaxWidth);
  if (mla.kv_lora == 0) return;
  check.Count("attention.q_lora_rank", mla.q_lora, 0, kMaxWidth);
  check.Count("attention.value_length", mla.v_dim, 16, kMaxHeadDim);
  if (mla.v_dim % 16 != 0 || mla.nope_dim + config.rope_dim != config.head_dim) {
    check.Fail(InvalidArgument(
        "{}.attention.key_length: heads of {} + {} elements with values of {} are not supported",
        config.architecture, mla.nope_dim, config.rope_dim, mla.v_dim));
  }
}

}  // namespace

double ModelConfig::context_extension() const {
  if (rope_scaling.factor > 1) return rope_scaling.factor;
  return static_cast<double>(context_length) / original_context();
}

void ModelConfig::LimitContext(int32_t tokens) {
  if (tokens > 0 && tokens < context_length) SetContext(tokens);
}

void ModelConfig::ExtendContext(int32_t tokens) {
  if (tokens > context_length) SetContext(tokens);
}

void ModelConfig::SetContext(int32_t tokens) {
  // What the scaling derives from the model's own length stays as it is.
  const double extension = context_extension();
  rope_scaling.original_context = original_context();
  if (extension > 1) rope_scaling.factor = static_cast<float>(extension);
  context_length = tokens;
}

float ModelConfig::score_scale() const {
  if (attention_scale > 0) return attention_scale;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  if (mla.kv_lora == 0 || rope_scaling.kind != RopeScaling::Kind::kYarn) return scale;
  if (rope_scaling.mscale_all_dim == 0) return scale;
  const float magnitude = rope_scaling.yarn_magnitude(rope_scaling.mscale_all_dim);
  return scale * magnitude * magnitude;
}

absl::Status ModelConfig::Validate() const {
  const std::string_view arch = architecture;
  Checker check(arch);
  check.Count("block_count", layers, 1, kMaxLayers);
  check.Count("attention.head_count", heads, 1, kMaxHeads);
  check.Count("attention.head_count_kv", kv_heads, 1, heads);
  WEFT_RETURN_IF_ERROR(check.status());
  if (heads % kv_heads != 0) {
    return InvalidArgument("{}.attention.head_count_kv: {} does not divide head_count {}", arch,
                           kv_heads, heads);
  }
  check.Count("attention.key_length", head_dim, 16, kMaxHeadDim);
  WEFT_RETURN_IF_ERROR(check.status());
  if (head_dim % 16 != 0) {
    return Unimplemented(
        "{}.attention.key_length: heads of {} elements are not supported, only "
        "multiples of 16",
        arch, head_dim);
  }
  check.Count("embedding_length", hidden, 1, kMaxWidth);
  check.Count("feed_forward_length", ffn, moe.experts > 0 ? 0 : 1, kMaxWidth);
  check.Count("vocab_size", vocab, 1, kMaxVocab);
  check.Count("context_length", context_length, 1, kMaxContext);
  const std::string_view eps_key =
      norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
  check.Real(eps_key, norm_eps, 0, 1);
  check.OptionalReal("attention.scale", attention_scale, kMaxScale);
  check.OptionalReal("attn_logit_softcapping", attention_softcap, kMaxScale);
  check.OptionalReal("final_logit_softcapping", logit_softcap, kMaxScale);
  check.Real("embedding_scale", embedding_scale, 0, kMaxScale);
  check.Real("residual_scale", residual_scale, 0, kMaxScale);
  check.Real("logit_scale", logit_scale, 0, kMaxScale);
  check.Count("attention.sliding_window", sliding_window, 0, kMaxContext);
  check.PerLayer("attention.sliding_window_pattern", sliding_layers.size(), layers);
  CheckRope(*this, check);
  CheckExperts(*this, check);
  CheckLatentAttention(*this, check);
  return check.status();
}

}  // namespace weft
