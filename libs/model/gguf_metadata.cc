#include "libs/model/gguf_metadata.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "libs/base/status.h"
#include "libs/gguf/gguf_writer.h"
#include "libs/model/rope.h"

namespace weft {
namespace {

using Kind = RopeScaling::Kind;

// Keys of one architecture.
class Keys {
 public:
  Keys(std::string_view arch, GgufWriter& writer) : arch_(arch), writer_(writer) {}

  void Count(std::string_view name, int64_t value) {
    writer_.AddUint32(Key(name), static_cast<uint32_t>(value));
  }
  void Real(std::string_view name, float value) { writer_.AddFloat32(Key(name), value); }
  void RealUnless(std::string_view name, float value, float usual) {
    if (value != usual) Real(name, value);
  }
  void Flag(std::string_view name, bool value) { writer_.AddBool(Key(name), value); }
  void Text(std::string_view name, std::string_view value) { writer_.AddString(Key(name), value); }
  void Flags(std::string_view name, const std::vector<uint8_t>& values) {
    if (!values.empty()) writer_.AddBoolArray(Key(name), values);
  }

 private:
  std::string Key(std::string_view name) const { return fmt::format("{}.{}", arch_, name); }

  std::string_view arch_;
  GgufWriter& writer_;
};

void AddAttention(const ModelConfig& config, Keys& keys) {
  keys.Count("attention.head_count", config.heads);
  const MlaConfig& mla = config.mla;
  if (mla.kv_lora > 0) {
    // The cache of latent vectors, which is one head for all; then the heads made of it.
    keys.Count("attention.head_count_kv", 1);
    keys.Count("attention.key_length", mla.kv_lora + config.rope_dim);
    keys.Count("attention.value_length", mla.kv_lora);
    keys.Count("attention.key_length_mla", config.head_dim);
    keys.Count("attention.value_length_mla", mla.v_dim);
    keys.Count("attention.kv_lora_rank", mla.kv_lora);
    if (mla.q_lora > 0) keys.Count("attention.q_lora_rank", mla.q_lora);
  } else {
    keys.Count("attention.head_count_kv", config.kv_heads);
    keys.Count("attention.key_length", config.head_dim);
    keys.Count("attention.value_length", config.head_dim);
    if (config.attention_scale > 0) keys.Real("attention.scale", config.attention_scale);
  }
  keys.Real(config.norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon"
                                          : "attention.layer_norm_epsilon",
            config.norm_eps);
  keys.RealUnless("attn_logit_softcapping", config.attention_softcap, 0);
  keys.RealUnless("final_logit_softcapping", config.logit_softcap, 0);
  if (config.sliding_window > 0) {
    keys.Count("attention.sliding_window", config.sliding_window);
    keys.Flags("attention.sliding_window_pattern", config.sliding_layers);
  }
}

void AddYarn(const ModelConfig& config, Keys& keys) {
  const RopeScaling& scaling = config.rope_scaling;
  keys.Text("rope.scaling.type", "yarn");
  keys.Real("rope.scaling.factor", scaling.factor);
  keys.RealUnless("rope.scaling.yarn_beta_fast", scaling.beta_fast, 32);
  keys.RealUnless("rope.scaling.yarn_beta_slow", scaling.beta_slow, 1);
  if (config.mla.kv_lora > 0 && scaling.mscale_all_dim != 0) {
    keys.Real("rope.scaling.yarn_log_multiplier", 0.1f * scaling.mscale_all_dim);
  }
  // The reader makes of those keys: both mscales alike, or neither.
  const bool implied = config.mla.kv_lora > 0
                           ? scaling.mscale == scaling.mscale_all_dim && scaling.mscale != 0
                           : scaling.mscale == 0 && scaling.mscale_all_dim == 0;
  if (implied && scaling.attention_factor == 0) return;
  keys.Real("rope.scaling.yarn_attn_factor",
            RopeTable(config, {}, RopeTable::Layers::kAll).magnitude());
}

void AddRope(const ModelConfig& config, Keys& keys) {
  if (config.rope_dim == 0) return;
  const RopeScaling& scaling = config.rope_scaling;
  keys.Count("rope.dimension_count", config.rope_dim);
  keys.Real("rope.freq_base", config.rope_base);
  keys.RealUnless("rope.freq_base_swa", config.rope_base_sliding, 0);
  keys.Flags("attention.rope_pattern", config.rope_layers);
  switch (scaling.kind) {
    case Kind::kNone:
    case Kind::kLlama3:  // a tensor
      return;
    case Kind::kLinear:
      keys.Text("rope.scaling.type", "linear");
      keys.Real("rope.scaling.factor", scaling.factor);
      return;
    case Kind::kDynamic:
      keys.Real("rope.scaling.dynamic_factor", scaling.factor);
      break;
    case Kind::kYarn:
      AddYarn(config, keys);
      break;
    case Kind::kLongRope:
      keys.Text("rope.scaling.type", "longrope");
      keys.Real("rope.scaling.attn_factor",
                RopeTable(config, {}, RopeTable::Layers::kAll).magnitude());
      break;
  }
  keys.Count("rope.scaling.original_context_length", config.original_context());
}

void AddExperts(const ModelConfig& config, Keys& keys) {
  const MoeConfig& moe = config.moe;
  if (moe.experts == 0) return;
  keys.Count("expert_count", moe.experts);
  keys.Count("expert_used_count", moe.used);
  keys.Count("expert_feed_forward_length", moe.ffn);
  keys.Count("expert_gating_func", moe.scoring == ExpertScoring::kSigmoid ? 2 : 1);
  keys.Flag("expert_weights_norm", moe.normalise);
  keys.Real("expert_weights_scale", moe.scale);
  if (moe.shared_ffn > 0) {
    const int32_t count = moe.ffn > 0 ? moe.shared_ffn / moe.ffn : 0;
    if (count > 0) keys.Count("expert_shared_count", count);
    keys.Count("expert_shared_feed_forward_length", moe.shared_ffn);
  }
  if (moe.first_dense > 0) keys.Count("leading_dense_block_count", moe.first_dense);
  if (moe.groups > 1) {
    keys.Count("expert_group_count", moe.groups);
    keys.Count("expert_group_used_count", moe.groups_used);
  }
}

// Remembers the first difference.
class Comparison {
 public:
  void Same(std::string_view what, double wanted, double found) {
    if (!status_.ok() || wanted == found) return;
    if (std::abs(wanted - found) <= 1e-6 * std::abs(wanted)) return;
    status_ = Unimplemented("GGUF of this architecture has no way to say {} of {}, it means {}",
                            what, wanted, found);
  }
  absl::Status status_;
};

void CompareRope(const ModelConfig& wanted, const ModelConfig& found, Comparison& out) {
  if (wanted.rope_dim == 0) return;
  const RopeFactorTensors factors = RopeFactorsOf(wanted);
  const std::vector<float>& longer =
      wanted.serves_long_context() ? factors.long_ones : factors.short_ones;
  const std::vector<int32_t> positions = {0, 1, 7, wanted.original_context() / 2,
                                          wanted.context_length - 1};
  const size_t size = positions.size() * static_cast<size_t>(wanted.rope_dim);
  for (const auto layers : {RopeTable::Layers::kAll, RopeTable::Layers::kSliding}) {
    std::vector<float> ours(size), theirs(size);
    RopeTable(wanted, longer, layers).Fill(positions, ours.data());
    RopeTable(found, factors.all.empty() ? longer : factors.all, layers)
        .Fill(positions, theirs.data());
    for (size_t i = 0; i < size; ++i) {
      // Angles of far positions magnify the rounding of the factors.
      if (std::abs(ours[i] - theirs[i]) > 1e-2f) out.Same("rotary angles", ours[i], theirs[i]);
    }
  }
}

}  // namespace

void AddGgufConfig(const ModelConfig& config, GgufWriter& writer) {
  writer.AddString("general.architecture", config.architecture);
  writer.AddString("general.type", "model");
  if (!config.name.empty()) writer.AddString("general.name", config.name);
  Keys keys(config.architecture, writer);
  keys.Count("block_count", config.layers);
  keys.Count("context_length", config.context_length);
  keys.Count("embedding_length", config.hidden);
  keys.Count("feed_forward_length", config.ffn);
  keys.Count("vocab_size", config.vocab);
  AddAttention(config, keys);
  AddRope(config, keys);
  AddExperts(config, keys);
  if (config.architecture != "granite") return;
  keys.Real("embedding_scale", config.embedding_scale);
  keys.Real("residual_scale", config.residual_scale);
  keys.Real("logit_scale", 1 / config.logit_scale);
}

RopeFactorTensors RopeFactorsOf(const ModelConfig& config) {
  RopeFactorTensors out;
  if (config.rope_scaling.kind == Kind::kLlama3) out.all = Llama3Factors(config);
  if (config.rope_scaling.kind == Kind::kLongRope) {
    out.long_ones = config.rope_scaling.long_factors;
    out.short_ones = config.rope_scaling.short_factors;
  }
  return out;
}

absl::Status CheckSameComputation(const ModelConfig& wanted, const ModelConfig& found) {
  Comparison all;
  all.Same("norm", static_cast<int>(wanted.norm), static_cast<int>(found.norm));
  all.Same("post norms", wanted.post_norms, found.post_norms);
  all.Same("activation", static_cast<int>(wanted.activation), static_cast<int>(found.activation));
  all.Same("gated feed-forward", wanted.gated_ffn, found.gated_ffn);
  all.Same("learned positions", wanted.learned_positions, found.learned_positions);
  all.Same("head size", wanted.head_dim, found.head_dim);
  all.Same("key heads", wanted.kv_heads, found.kv_heads);
  all.Same("value size", wanted.value_dim(), found.value_dim());
  all.Same("rotating elements", wanted.rope_dim, found.rope_dim);
  all.Same("score scale", wanted.score_scale(), found.score_scale());
  all.Same("attention soft cap", wanted.attention_softcap, found.attention_softcap);
  all.Same("logit soft cap", wanted.logit_softcap, found.logit_softcap);
  all.Same("embedding scale", wanted.embedding_scale, found.embedding_scale);
  all.Same("residual scale", wanted.residual_scale, found.residual_scale);
  all.Same("logit scale", wanted.logit_scale, found.logit_scale);
  all.Same("window", wanted.sliding_window, found.sliding_window);
  for (int32_t i = 0; i < wanted.layers; ++i) {
    all.Same(fmt::format("window of layer {}", i), wanted.slides(i), found.slides(i));
    all.Same(fmt::format("rotation of layer {}", i), wanted.rotates(i), found.rotates(i));
  }
  const MoeConfig& moe = wanted.moe;
  all.Same("experts", moe.experts, found.moe.experts);
  if (moe.experts > 0) {
    all.Same("expert width", moe.ffn, found.moe.ffn);
    all.Same("shared width", moe.shared_ffn, found.moe.shared_ffn);
    all.Same("dense layers", moe.first_dense, found.moe.first_dense);
    all.Same("expert scoring", static_cast<int>(moe.scoring), static_cast<int>(found.moe.scoring));
    all.Same("normalised expert weights", moe.normalise, found.moe.normalise);
    all.Same("expert scale", moe.scale, found.moe.scale);
    all.Same("expert groups", moe.groups, found.moe.groups);
    all.Same("expert groups used", moe.groups_used, found.moe.groups_used);
  }
  CompareRope(wanted, found, all);
  return all.status_;
}

}  // namespace weft
