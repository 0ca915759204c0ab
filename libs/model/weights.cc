#include "libs/model/weights.h"

#include <string>

#include "libs/base/status.h"
#include "libs/model/tensor_loader.h"

namespace weft {
namespace {

// Loads the tensors of one layer: names are "blk.<index>.<part>.weight" and ".bias".
class LayerLoader {
 public:
  LayerLoader(TensorLoader& loader, const ModelConfig& config, const ShardPlan& plan, int32_t index)
      : loader_(loader), config_(config), plan_(plan), index_(index) {}

  absl::Status Attention(AttentionWeights& out) {
    WEFT_RETURN_IF_ERROR(Norm("attn_norm", out.norm));
    if (config_.post_norms) WEFT_RETURN_IF_ERROR(Norm("post_attention_norm", out.post_norm));
    if (config_.mla.kv_lora > 0) {
      WEFT_RETURN_IF_ERROR(LatentProjections(out));
    } else {
      WEFT_RETURN_IF_ERROR(Projections(out));
    }
    if (config_.qk_norm) {
      WEFT_RETURN_IF_ERROR(Vector("attn_q_norm", config_.head_dim, out.q_norm));
      WEFT_RETURN_IF_ERROR(Vector("attn_k_norm", config_.head_dim, out.k_norm));
    }
    return Columns("attn_output", plan_.heads.times(config_.value_dim()),
                   config_.attention_out_bias, out.out);
  }

  // What follows the layer before a stage's first one.
  absl::Status PostNorm(NormVectors& out) {
    return config_.post_norms ? Norm("post_ffw_norm", out) : absl::OkStatus();
  }

  absl::Status Ffn(LayerWeights& out) {
    FfnWeights& ffn = out.ffn;
    WEFT_RETURN_IF_ERROR(Norm("ffn_norm", ffn.norm));
    WEFT_RETURN_IF_ERROR(PostNorm(ffn.post_norm));
    if (!config_.has_experts(index_)) return Network(ffn);
    WEFT_RETURN_IF_ERROR(Experts(out.experts));
    const Slice& width = plan_.shared_ffn;
    if (width.total == 0) return absl::OkStatus();
    WEFT_RETURN_IF_ERROR(Linear("ffn_gate_shexp", Rows(width), config_.hidden, false, ffn.gate));
    WEFT_RETURN_IF_ERROR(Linear("ffn_up_shexp", Rows(width), config_.hidden, false, ffn.up));
    return Columns("ffn_down_shexp", width, false, ffn.down);
  }

 private:
  std::string Name(std::string_view part, std::string_view kind) const {
    return fmt::format("blk.{}.{}.{}", index_, part, kind);
  }

  absl::Status Vector(std::string_view part, int64_t length, std::vector<float>& out) {
    return loader_.Vector(Name(part, "weight"), length, out);
  }

  absl::Status Norm(std::string_view part, NormVectors& out) {
    WEFT_RETURN_IF_ERROR(Vector(part, config_.hidden, out.weight));
    if (config_.norm == NormKind::kRms) return absl::OkStatus();
    return loader_.Vector(Name(part, "bias"), config_.hidden, out.bias);
  }

  absl::Status Linear(std::string_view part, const RowRange& range, int64_t cols, bool bias,
                      LinearWeights& out) {
    WEFT_RETURN_IF_ERROR(loader_.Matrix(Name(part, "weight"), range, cols, out.matrix));
    if (!bias) return absl::OkStatus();
    return loader_.Vector(Name(part, "bias"), range, out.bias);
  }
  absl::Status Linear(std::string_view part, int64_t rows, int64_t cols, bool bias,
                      LinearWeights& out) {
    return Linear(part, RowRange{0, rows, rows}, cols, bias, out);
  }

  // The rows of a slice, in a tensor that has others before and after.
  static RowRange Rows(const Slice& slice, int64_t before = 0, int64_t after = 0) {
    return {before + slice.first, slice.count, before + slice.total + after};
  }

  // A matrix [hidden, columns] whose products the ranks add up; one of them adds the bias.
  absl::Status Columns(std::string_view part, const Slice& columns, bool bias, LinearWeights& out) {
    const RowRange rows{0, config_.hidden, config_.hidden};
    WEFT_RETURN_IF_ERROR(loader_.Matrix(Name(part, "weight"), rows, columns, out.matrix));
    if (!bias) return absl::OkStatus();
    if (plan_.adds_bias()) return loader_.Vector(Name(part, "bias"), rows, out.bias);
    loader_.Ignore(Name(part, "bias"));
    return absl::OkStatus();
  }

  absl::Status Projections(AttentionWeights& out) {
    const Slice q = plan_.heads.times(config_.head_dim);
    const Slice kv = plan_.kv_heads.times(config_.head_dim);
    const int64_t hidden = config_.hidden;
    const bool bias = config_.attention_bias;
    if (loader_.Has(Name("attn_qkv", "weight"))) {
      const RowRange k = Rows(kv, q.total, kv.total);
      const RowRange v = Rows(kv, q.total + kv.total);
      WEFT_RETURN_IF_ERROR(Linear("attn_qkv", Rows(q, 0, 2 * kv.total), hidden, bias, out.q));
      WEFT_RETURN_IF_ERROR(Linear("attn_qkv", k, hidden, bias, out.k));
      return Linear("attn_qkv", v, hidden, bias, out.v);
    }
    WEFT_RETURN_IF_ERROR(Linear("attn_q", Rows(q), hidden, bias, out.q));
    WEFT_RETURN_IF_ERROR(Linear("attn_k", Rows(kv), hidden, bias, out.k));
    return Linear("attn_v", Rows(kv), hidden, bias, out.v);
  }

  absl::Status Network(FfnWeights& out) {
    const Slice& ffn = plan_.ffn;
    const int64_t hidden = config_.hidden;
    const bool bias = config_.ffn_bias;
    if (config_.gated_ffn && !loader_.Has(Name("ffn_gate", "weight"))) {
      // Phi-3: one tensor, the gate's rows first.
      WEFT_RETURN_IF_ERROR(Linear("ffn_up", Rows(ffn, 0, ffn.total), hidden, bias, out.gate));
      WEFT_RETURN_IF_ERROR(Linear("ffn_up", Rows(ffn, ffn.total), hidden, bias, out.up));
    } else {
      if (config_.gated_ffn) {
        WEFT_RETURN_IF_ERROR(Linear("ffn_gate", Rows(ffn), hidden, bias, out.gate));
      }
      WEFT_RETURN_IF_ERROR(Linear("ffn_up", Rows(ffn), hidden, bias, out.up));
    }
    return Columns("ffn_down", ffn, bias, out.down);
  }

  absl::Status Experts(ExpertWeights& out) {
    const MoeConfig& moe = config_.moe;
    const Slice hidden{0, config_.hidden, config_.hidden};
    WEFT_RETURN_IF_ERROR(Linear("ffn_gate_inp", moe.experts, hidden.total, false, out.router));
    WEFT_RETURN_IF_ERROR(Stack("gate", Rows(plan_.expert_ffn), hidden, out.gate));
    WEFT_RETURN_IF_ERROR(Stack("up", Rows(plan_.expert_ffn), hidden, out.up));
    return Stack("down", Rows(hidden), plan_.expert_ffn, out.down);
  }

  // "ffn_gate_exps" of all experts, or in older files "ffn_gate.<expert>" of each.
  absl::Status Stack(std::string_view part, const RowRange& rows, const Slice& cols,
                     std::vector<Weight>& out) {
    const int64_t experts = config_.moe.experts;
    const std::string stack = Name(fmt::format("ffn_{}_exps", part), "weight");
    if (loader_.Has(stack) || !loader_.Has(Name(fmt::format("ffn_{}.0", part), "weight"))) {
      return loader_.Stack(stack, experts, rows, cols, out);
    }
    out.resize(static_cast<size_t>(experts));
    for (size_t i = 0; i < out.size(); ++i) {
      const std::string name = Name(fmt::format("ffn_{}.{}", part, i), "weight");
      WEFT_RETURN_IF_ERROR(loader_.Matrix(name, rows, cols, out[i]));
    }
    return absl::OkStatus();
  }

  absl::Status LatentProjections(AttentionWeights& out) {
    const MlaConfig& mla = config_.mla;
    const RowRange q = Rows(plan_.heads.times(config_.head_dim));
    const int64_t hidden = config_.hidden;
    if (mla.q_lora > 0) {
      WEFT_RETURN_IF_ERROR(Linear("attn_q_a", mla.q_lora, hidden, false, out.q_a));
      WEFT_RETURN_IF_ERROR(Vector("attn_q_a_norm", mla.q_lora, out.q_a_norm));
      WEFT_RETURN_IF_ERROR(Linear("attn_q_b", q, mla.q_lora, false, out.q));
    } else {
      WEFT_RETURN_IF_ERROR(Linear("attn_q", q, hidden, false, out.q));
    }
    WEFT_RETURN_IF_ERROR(
        Linear("attn_kv_a_mqa", mla.kv_lora + config_.rope_dim, hidden, false, out.kv_a));
    WEFT_RETURN_IF_ERROR(Vector("attn_kv_a_norm", mla.kv_lora, out.kv_a_norm));
    const RowRange kv = Rows(plan_.heads.times(mla.nope_dim + mla.v_dim));
    if (loader_.Has(Name("attn_kv_b", "weight")) || !loader_.Has(Name("attn_k_b", "weight"))) {
      // Some files have its two parts beside it, for another way to compute the same.
      loader_.Ignore(Name("attn_k_b", "weight"));
      loader_.Ignore(Name("attn_v_b", "weight"));
      return loader_.KvB(Name("attn_kv_b", "weight"), kv, mla.kv_lora, out.kv_b.matrix);
    }
    return loader_.SplitKvB(Name("attn_k_b", "weight"), Name("attn_v_b", "weight"), config_,
                            plan_.heads, out.kv_b.matrix);
  }

  TensorLoader& loader_;
  const ModelConfig& config_;
  const ShardPlan& plan_;
  const int32_t index_;
};

absl::Status RopeFactors(TensorLoader& loader, const std::string& name, int32_t pairs,
                         std::vector<float>& out) {
  WEFT_RETURN_IF_ERROR(loader.Vector(name, pairs, out));
  for (const float factor : out) {
    if (!(factor > 0 && factor < 1e9f)) {
      return InvalidArgument("tensor {}: expected factors above 0, found {}", name, factor);
    }
  }
  return absl::OkStatus();
}

// What divides the frequencies: of the file, or of the configuration.
absl::Status LoadRopeFactors(TensorLoader& loader, const ModelConfig& config,
                             std::vector<float>& out) {
  const int32_t pairs = config.rope_dim / 2;
  if (loader.Has("rope_freqs.weight")) {
    return RopeFactors(loader, "rope_freqs.weight", pairs, out);
  }
  if (config.rope_scaling.kind != RopeScaling::Kind::kLongRope) return absl::OkStatus();
  const RopeScaling& scaling = config.rope_scaling;
  std::vector<float> factors_long = scaling.long_factors;
  std::vector<float> factors_short = scaling.short_factors;
  if (factors_long.empty()) {
    WEFT_RETURN_IF_ERROR(RopeFactors(loader, "rope_factors_long.weight", pairs, factors_long));
  }
  if (factors_short.empty()) {
    WEFT_RETURN_IF_ERROR(RopeFactors(loader, "rope_factors_short.weight", pairs, factors_short));
  }
  out = config.serves_long_context() ? factors_long : factors_short;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelWeights> LoadWeights(const WeightSource& source, const ModelConfig& config,
                                         const OpTable& table, OpContext& context) {
  return LoadWeights(source, config, WholeModel(config), table, context);
}

absl::StatusOr<ModelWeights> LoadWeights(const WeightSource& source, const ModelConfig& config,
                                         const ShardPlan& plan, const OpTable& table,
                                         OpContext& context) {
  ModelWeights weights;
  TensorLoader loader(source, table, context);
  WEFT_RETURN_IF_ERROR(
      loader.Table("token_embd.weight", config.vocab, config.hidden, weights.embedding));
  if (config.learned_positions) {
    // Less context than the table has may be served.
    const Tensor* table = source.tensors.Find("position_embd.weight");
    const bool longer =
        table != nullptr && table->dims.size() == 2 && table->dims[1] > config.context_length;
    const int64_t rows = longer ? table->dims[1] : config.context_length;
    WEFT_RETURN_IF_ERROR(
        loader.Table("position_embd.weight", rows, config.hidden, weights.positions));
  }
  WEFT_RETURN_IF_ERROR(LoadRopeFactors(loader, config, weights.rope_factors));
  const auto first = static_cast<int32_t>(plan.layers.first);
  weights.layers.resize(static_cast<size_t>(plan.layers.count));
  if (first > 0) {
    LayerLoader before(loader, config, plan, first - 1);
    WEFT_RETURN_IF_ERROR(before.PostNorm(weights.before_first));
  }
  for (int32_t i = 0; i < config.layers; ++i) {
    const int32_t own = i - first;
    if (own < 0 || own >= plan.layers.count) {  // of another stage
      loader.IgnoreAll(fmt::format("blk.{}.", i));
      continue;
    }
    LayerLoader layer_loader(loader, config, plan, i);
    LayerWeights& layer = weights.layers[static_cast<size_t>(own)];
    WEFT_RETURN_IF_ERROR(layer_loader.Attention(layer.attention));
    WEFT_RETURN_IF_ERROR(layer_loader.Ffn(layer));
  }
  if (plan.last_stage()) {
    WEFT_RETURN_IF_ERROR(
        loader.Vector("output_norm.weight", config.hidden, weights.output_norm.weight));
    if (config.norm == NormKind::kLayer) {
      WEFT_RETURN_IF_ERROR(
          loader.Vector("output_norm.bias", config.hidden, weights.output_norm.bias));
    }
    const RowRange rows{plan.vocab.first, plan.vocab.count, plan.vocab.total};
    WEFT_RETURN_IF_ERROR(
        loader.Matrix(config.tied_embeddings ? "token_embd.weight" : "output.weight", rows,
                      config.hidden, weights.output));
  } else {
    loader.IgnoreAll("output");
  }
  WEFT_RETURN_IF_ERROR(loader.NothingElse(config.architecture));
  const Tensor& embedding = *source.tensors.Find("token_embd.weight");
  weights.release_embedding = [&tensors = source.tensors, &embedding] {
    tensors.Release(embedding.data, embedding.bytes);
  };
  weights.main_type = loader.MainType();
  weights.packed_bytes = loader.packed_bytes();
  source.tensors.ReleaseAll();
  if (source.progress) {
    const uint64_t all = std::max<uint64_t>(1, source.tensors.bytes());
    source.progress({.bytes = all, .all = all});
  }
  return weights;
}

}  // namespace weft
