#include "libs/model/attention_block.h"

#include <array>

namespace weft {

using Output = LinearArgs::Output;

AttentionBlock::AttentionBlock(const ModelConfig& config, const ModelWeights& weights,
                               const OpTable& ops, OpContext& context)
    : config_(config), weights_(weights), ops_(ops), context_(context) {
  const MlaConfig& mla = config.mla;
  if (!QuantisesInTasks(config.heads / config.kv_heads * config.value_dim())) {
    attended_.KeepFloats();
  }
  for (const LayerWeights& layer : weights.layers) {
    const AttentionWeights& a = layer.attention;
    attended_.AddConsumer(static_cast<int64_t>(config.heads) * config.value_dim(), a.out.matrix,
                          ops);
    if (mla.kv_lora == 0) continue;
    kv_latent_.AddConsumer(mla.kv_lora, a.kv_b.matrix, ops);
    if (mla.q_lora > 0) q_latent_.AddConsumer(mla.q_lora, a.q.matrix, ops);
  }
}

uint64_t AttentionBlock::Reserve(int64_t rows) {
  const MlaConfig& mla = config_.mla;
  uint64_t bytes = q_.Reserve(rows * config_.heads * config_.head_dim, "queries", context_);
  if (mla.kv_lora > 0) {
    if (context_.device == nullptr) {
      bytes += k_.Reserve(rows * config_.heads * (mla.nope_dim + mla.v_dim), "keys", context_);
    } else {
      const int64_t width = mla.kv_lora + config_.rope_dim;
      latent_q_.Reserve(rows * config_.heads * width, "latent queries", context_);
      latent_out_.Reserve(rows * config_.heads * mla.kv_lora, "latent attention", context_);
    }
    bytes += q_a_.Reserve(rows * mla.q_lora, "latent queries", context_);
    bytes +=
        kv_a_.Reserve(rows * (mla.kv_lora + config_.rope_dim), "latent keys and values", context_);
  } else {
    bytes += k_.Reserve(rows * config_.kv_heads * config_.head_dim, "keys", context_);
    bytes += v_.Reserve(rows * config_.kv_heads * config_.head_dim, "values", context_);
  }
  for (ActivationBuffer* buffer : {&q_latent_, &kv_latent_, &attended_}) {
    buffer->Reserve(rows, context_);
    bytes += buffer->bytes();
  }
  return bytes;
}

// Queries, keys and values from low-rank latents: DeepSeek-V2, https://arxiv.org/abs/2405.04434
void AttentionBlock::ProjectLatent(const AttentionWeights& layer, const Activations& input,
                                   int64_t rows, bool expand) {
  const MlaConfig& mla = config_.mla;
  const auto norm = [&](StepBuffer<float>& x, int64_t stride, const std::vector<float>& weight,
                        ActivationBuffer& out) {
    ops_.rms_norm({.x = x.data(),
                   .stride = stride,
                   .weight = weight.data(),
                   .eps = config_.norm_eps,
                   .rows = rows,
                   .out = out.view(rows)},
                  context_);
  };
  const bool low_rank_q = mla.q_lora > 0;
  const std::array<Output, 2> down = {
      {low_rank_q ? layer.q_a.To(q_a_) : layer.q.To(q_), layer.kv_a.To(kv_a_)}};
  ops_.linear({input, rows, down}, context_);
  if (low_rank_q) {
    norm(q_a_, mla.q_lora, layer.q_a_norm, q_latent_);
    const std::array<Output, 1> q = {{layer.q.To(q_)}};
    ops_.linear({q_latent_.view(rows), rows, q}, context_);
  }
  norm(kv_a_, mla.kv_lora + config_.rope_dim, layer.kv_a_norm, kv_latent_);
  if (!expand) return;
  const std::array<Output, 1> kv = {{layer.kv_b.To(k_)}};
  ops_.linear({kv_latent_.view(rows), rows, kv}, context_);
}

// On a device the cache holds latents.
void AttentionBlock::AttendLatent(const AttentionWeights& layer, const StepView& step,
                                  const KvLayer& cache) {
  const MlaConfig& mla = config_.mla;
  const int64_t rows = step.batch.rows();
  ops_.latent_attention({.q = q_.data(),
                         .latent = kv_latent_.view(rows),
                         .k_rope = kv_a_.data() + mla.kv_lora,
                         .k_rope_stride = mla.kv_lora + config_.rope_dim,
                         .kv_b = &layer.kv_b.matrix,
                         .cos_sin = step.cos_sin,
                         .rows = rows,
                         .heads = config_.heads,
                         .nope_dim = mla.nope_dim,
                         .rope_dim = config_.rope_dim,
                         .v_dim = mla.v_dim,
                         .neighbours = config_.rope_pairing == RopePairing::kNeighbours,
                         .scale = config_.score_scale(),
                         .slots = step.batch.cache_slots,
                         .cache = cache,
                         .shape = step.shape,
                         .latent_q = latent_q_.data(),
                         .latent_out = latent_out_.data(),
                         .out = attended_.view(rows)},
                        context_);
}

void AttentionBlock::Run(int32_t layer, const Activations& input, const StepView& step,
                         const KvLayer& cache, float* out) {
  const AttentionWeights& weights = weights_.layers[static_cast<size_t>(layer)].attention;
  const MlaConfig& mla = config_.mla;
  const int64_t rows = step.batch.rows();
  const bool slides = config_.slides(layer);
  RopeAndCacheArgs rope{.q = q_.data(),
                        .k = k_.data(),
                        .v = v_.data(),
                        .q_norm = config_.qk_norm ? weights.q_norm.data() : nullptr,
                        .k_norm = config_.qk_norm ? weights.k_norm.data() : nullptr,
                        .norm_eps = config_.norm_eps,
                        .cos_sin = slides ? step.cos_sin_sliding : step.cos_sin,
                        .rows = rows,
                        .heads = config_.heads,
                        .rope_dim = config_.rotates(layer) ? config_.rope_dim : 0,
                        .neighbours = config_.rope_pairing == RopePairing::kNeighbours,
                        .slots = step.batch.cache_slots,
                        .cache = cache,
                        .shape = step.shape};
  const std::array<Output, 1> projected = {{weights.out.To(out)}};
  if (mla.kv_lora > 0 && context_.device != nullptr) {
    ProjectLatent(weights, input, rows, /*expand=*/false);
    AttendLatent(weights, step, cache);
    ops_.linear({attended_.view(rows), rows, projected}, context_);
    return;
  }
  if (mla.kv_lora > 0) {
    ProjectLatent(weights, input, rows, /*expand=*/true);
    rope.v = k_.data() + mla.nope_dim;
    rope.k_head_stride = rope.v_head_stride = mla.nope_dim + mla.v_dim;
    rope.k_shared = kv_a_.data() + mla.kv_lora;
    rope.k_shared_stride = mla.kv_lora + config_.rope_dim;
    rope.rope_first = mla.nope_dim;
  } else {
    const std::array<Output, 3> qkv = {{weights.q.To(q_), weights.k.To(k_), weights.v.To(v_)}};
    ops_.linear({input, rows, qkv}, context_);
  }
  ops_.rope_and_cache(rope, context_);
  ops_.paged_attention({.q = q_.data(),
                        .rows = rows,
                        .heads = config_.heads,
                        .scale = config_.score_scale(),
                        .softcap = config_.attention_softcap,
                        .window = slides ? config_.sliding_window : 0,
                        .sequences = step.sequences,
                        .cache = cache,
                        .shape = step.shape,
                        .out = attended_.view(rows)},
                       context_);
  ops_.linear({attended_.view(rows), rows, projected}, context_);
}

}  // namespace weft
