#include "libs/model/hf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <span>

namespace weft {
namespace {

struct Rule {
  std::string_view from;  // in a layer and without its end
  std::string_view to;
  HfAction action = HfAction::kKeep;
};

constexpr Rule kAttention[] = {
    {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},      {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"},
    {"input_layernorm", "attn_norm"},    {"post_attention_layernorm", "ffn_norm"},
};
constexpr Rule kGatedFfn[] = {
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
};
constexpr Rule kRouted[] = {
    {"mlp.gate", "ffn_gate_inp"},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
};
constexpr Rule kMixtral[] = {{"block_sparse_moe.gate", "ffn_gate_inp"}};
constexpr Rule kStarCoder2[] = {{"mlp.c_fc", "ffn_up"}, {"mlp.c_proj", "ffn_down"}};
constexpr Rule kStarCoder[] = {
    {"ln_1", "attn_norm"},  {"ln_2", "ffn_norm"},       {"attn.c_attn", "", HfAction::kSplitQkv},
    {"mlp.c_fc", "ffn_up"}, {"mlp.c_proj", "ffn_down"}, {"attn.c_proj", "attn_output"},
};
constexpr Rule kGemma[] = {
    {"input_layernorm", "attn_norm", HfAction::kAddOne},
    {"post_attention_layernorm", "post_attention_norm", HfAction::kAddOne},
    {"pre_feedforward_layernorm", "ffn_norm", HfAction::kAddOne},
    {"post_feedforward_layernorm", "post_ffw_norm", HfAction::kAddOne},
    {"self_attn.q_norm", "attn_q_norm", HfAction::kAddOne},
    {"self_attn.k_norm", "attn_k_norm", HfAction::kAddOne},
};
constexpr Rule kPhi3[] = {
    {"self_attn.qkv_proj", "", HfAction::kSplitQkv},
    {"mlp.gate_up_proj", "", HfAction::kSplitGateUp},
};
constexpr Rule kDeepSeek[] = {
    {"self_attn.q_a_proj", "attn_q_a"},
    {"self_attn.q_a_layernorm", "attn_q_a_norm"},
    {"self_attn.q_b_proj", "attn_q_b"},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
    {"self_attn.kv_b_proj", "attn_kv_b"},
};
constexpr Rule kExpert[] = {
    {"gate_proj", "ffn_gate_exps"},
    {"up_proj", "ffn_up_exps"},
    {"down_proj", "ffn_down_exps"},
};
constexpr Rule kMixtralExpert[] = {
    {"w1", "ffn_gate_exps"},
    {"w3", "ffn_up_exps"},
    {"w2", "ffn_down_exps"},
};
constexpr Rule kOutside[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
};
constexpr Rule kStarCoderOutside[] = {
    {"transformer.wte", "token_embd"},
    {"transformer.wpe", "position_embd"},
    {"transformer.ln_f", "output_norm"},
    {"lm_head", "output"},
};
constexpr Rule kGemmaOutside[] = {{"model.norm", "output_norm", HfAction::kAddOne}};

using Rules = std::span<const Rule>;

const Rule* FindRule(std::initializer_list<Rules> lists, std::string_view name) {
  for (const Rules& rules : lists) {
    const auto it = std::find_if(rules.begin(), rules.end(),
                                 [name](const Rule& rule) { return rule.from == name; });
    if (it != rules.end()) return &*it;
  }
  return nullptr;
}

// Earlier lists go first: Gemma's norms are not Llama's.
const Rule* FindInLayer(HfLayout layout, std::string_view name) {
  switch (layout) {
    case HfLayout::kLlama:
      return FindRule({kAttention, kGatedFfn, kRouted}, name);
    case HfLayout::kMixtral:
      return FindRule({kMixtral, kAttention}, name);
    case HfLayout::kStarCoder:
      return FindRule({kStarCoder}, name);
    case HfLayout::kStarCoder2:
      return FindRule({kStarCoder2, kAttention}, name);
    case HfLayout::kGemma:
      return FindRule({kGemma, kAttention, kGatedFfn}, name);
    case HfLayout::kPhi3:
      return FindRule({kPhi3, kAttention, kGatedFfn}, name);
    case HfLayout::kDeepSeek:
      return FindRule({kDeepSeek, kAttention, kGatedFfn, kRouted}, name);
  }
  return nullptr;
}

// "12.rest": takes the number and the dot away. Nothing from `limit` on.
std::optional<int32_t> TakeIndex(std::string_view& text, int32_t limit) {
  int32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto length = static_cast<size_t>(end - text.data());
  const bool canonical = length == 1 || (length > 1 && text[0] != '0');
  if (error != std::errc() || !canonical || value < 0 || value >= limit || length >= text.size() ||
      text[length] != '.') {
    return std::nullopt;
  }
  text.remove_prefix(length + 1);
  return value;
}

bool TakePrefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// Tables of angles and masks that older checkpoints carry.
bool IsBuffer(std::string_view in_layer) {
  return in_layer.ends_with("rotary_emb.inv_freq") || in_layer == "attn.bias" ||
         in_layer == "attn.masked_bias";
}

}  // namespace

std::optional<HfName> TranslateHfName(std::string_view name, HfLayout layout, int32_t layers,
                                      int32_t experts) {
  const bool star_coder = layout == HfLayout::kStarCoder;
  HfName out;
  std::string_view in_layer = name;
  const bool of_layer = TakePrefix(in_layer, star_coder ? "transformer.h." : "model.layers.");
  std::optional<int32_t> layer;
  if (of_layer) {
    layer = TakeIndex(in_layer, layers);
    if (!layer.has_value()) return std::nullopt;
  }
  if (IsBuffer(in_layer)) {
    out.action = HfAction::kIgnore;
    return out;
  }
  const size_t dot = in_layer.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  out.end = in_layer.substr(dot + 1);
  std::string_view stem = in_layer.substr(0, dot);
  if (out.end != "weight" && out.end != "bias") return std::nullopt;

  const Rule* rule = nullptr;
  if (!of_layer) {
    rule = star_coder                   ? FindRule({kStarCoderOutside}, stem)
           : layout == HfLayout::kGemma ? FindRule({kGemmaOutside, kOutside}, stem)
                                        : FindRule({kOutside}, stem);
    if (rule == nullptr) return std::nullopt;
    out.gguf = fmt::format("{}.{}", rule->to, out.end);
    out.action = rule->action;
    return out;
  }
  const bool mixtral = layout == HfLayout::kMixtral;
  if (TakePrefix(stem, mixtral ? "block_sparse_moe.experts." : "mlp.experts.")) {
    const std::optional<int32_t> expert = TakeIndex(stem, experts);
    rule = mixtral ? FindRule({kMixtralExpert}, stem) : FindRule({kExpert}, stem);
    if (!expert.has_value() || rule == nullptr || out.end != "weight") return std::nullopt;
    out.expert = *expert;
    out.action = HfAction::kExpert;
  } else {
    rule = FindInLayer(layout, stem);
    if (rule == nullptr) return std::nullopt;
    out.action = rule->action;
  }
  out.gguf = rule->to.empty() ? fmt::format("blk.{}.", *layer)
                              : fmt::format("blk.{}.{}.{}", *layer, rule->to, out.end);
  return out;
}

}  // namespace weft
