#include "libs/model/transformer.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace weft {

void Transformer::Buffer::Reserve(int64_t rows) {
  const auto elements = static_cast<size_t>(rows * width);
  data.resize(elements);
  if (!quantized) return;
  q.resize(elements);
  scale.resize(elements / 32);
  scaled_sum.resize(elements / 32);
  minus128sum.resize(elements / 16);
}

uint64_t Transformer::Buffer::bytes() const {
  return data.size() * 4 + q.size() + scale.size() * 4 + scaled_sum.size() * 4 +
         minus128sum.size() * 4;
}

Activations Transformer::Buffer::view(int64_t rows) {
  Activations view;
  view.data = data.data();
  view.width = width;
  if (quantized) {
    view.quantized = {q.data(), scale.data(), scaled_sum.data(), minus128sum.data(), rows};
  }
  return view;
}

Transformer::Transformer(const ModelConfig& config, const ModelWeights& weights,
                         const OpTable& table, OpContext& context)
    : config_(config),
      weights_(weights),
      ops_(table),
      context_(context),
      rope_(config, weights.rope_factors) {
  normed_.width = config.hidden;
  attended_.width = static_cast<int64_t>(config.heads) * config.head_dim;
  gated_.width = config.ffn;
  normed_.quantized = ops_.quantizes(weights.output);
  for (const LayerWeights& layer : weights.layers) {
    for (const Weight* weight : {&layer.q, &layer.k, &layer.v, &layer.gate, &layer.up}) {
      normed_.quantized |= ops_.quantizes(*weight);
    }
    attended_.quantized |= ops_.quantizes(layer.attention_out);
    gated_.quantized |= ops_.quantizes(layer.down);
  }
  // A block of 32 must not cross rows. Quantised formats guarantee it for their own input.
  for (Buffer* buffer : {&normed_, &attended_, &gated_}) {
    buffer->quantized &= buffer->width % 32 == 0;
  }
}

void Transformer::Reserve(int64_t rows) {
  if (rows <= reserved_rows_) return;
  const int64_t kv_width = static_cast<int64_t>(config_.kv_heads) * config_.head_dim;
  x_.resize(static_cast<size_t>(rows * config_.hidden));
  delta_.resize(x_.size());
  q_.resize(static_cast<size_t>(rows * attended_.width));
  k_.resize(static_cast<size_t>(rows * kv_width));
  v_.resize(k_.size());
  gate_.resize(static_cast<size_t>(rows * config_.ffn));
  up_.resize(gate_.size());
  cos_sin_.resize(static_cast<size_t>(rows * config_.rope_dim));
  for (Buffer* buffer : {&normed_, &attended_, &gated_}) buffer->Reserve(rows);
  reserved_rows_ = rows;
  const size_t floats = x_.size() + delta_.size() + q_.size() + k_.size() + v_.size() +
                        gate_.size() + up_.size() + cos_sin_.size();
  scratch_bytes_.store(floats * 4 + normed_.bytes() + attended_.bytes() + gated_.bytes(),
                       std::memory_order_relaxed);
}

void Transformer::Forward(const StepBatch& batch, std::span<const KvLayer> cache,
                          const KvShape& shape, std::span<float> logits,
                          std::atomic<uint64_t>& progress) {
  Reserve(batch.rows());
  sequences_.clear();
  for (const StepBatch::Sequence& sequence : batch.sequences) {
    sequences_.push_back({sequence.first_row, sequence.rows,
                          sequence.context_tokens - sequence.rows, sequence.block_table});
  }
  rope_.Fill(batch.positions, cos_sin_.data());
  ops_.embed({&weights_.embedding, batch.tokens, x_.data()}, context_);
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    Layer(weights_.layers[i], cache[i], shape, batch, i == 0);
    progress.fetch_add(1, std::memory_order_relaxed);
  }
  Logits(batch, logits);
}

void Transformer::Layer(const LayerWeights& layer, const KvLayer& cache, const KvShape& shape,
                        const StepBatch& batch, bool first) {
  using Output = LinearArgs::Output;
  const int64_t rows = batch.rows();
  ops_.add_rms_norm({.x = x_.data(),
                     .delta = first ? nullptr : delta_.data(),
                     .weight = layer.attention_norm.data(),
                     .eps = config_.norm_eps,
                     .rows = rows,
                     .out = normed_.view(rows)},
                    context_);
  const std::array<Output, 3> qkv = {
      {{&layer.q, q_.data()}, {&layer.k, k_.data()}, {&layer.v, v_.data()}}};
  ops_.linear({normed_.view(rows), rows, qkv}, context_);
  ops_.rope_and_cache({.q = q_.data(),
                       .k = k_.data(),
                       .v = v_.data(),
                       .cos_sin = cos_sin_.data(),
                       .rows = rows,
                       .heads = config_.heads,
                       .rope_dim = config_.rope_dim,
                       .neighbours = config_.rope_pairing == RopePairing::kNeighbours,
                       .slots = batch.cache_slots,
                       .cache = cache,
                       .shape = shape},
                      context_);
  ops_.paged_attention({.q = q_.data(),
                        .rows = rows,
                        .heads = config_.heads,
                        .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim)),
                        .sequences = sequences_,
                        .cache = cache,
                        .shape = shape,
                        .out = attended_.view(rows)},
                       context_);
  const std::array<Output, 1> attention_out = {{{&layer.attention_out, delta_.data()}}};
  ops_.linear({attended_.view(rows), rows, attention_out}, context_);
  ops_.add_rms_norm({.x = x_.data(),
                     .delta = delta_.data(),
                     .weight = layer.ffn_norm.data(),
                     .eps = config_.norm_eps,
                     .rows = rows,
                     .out = normed_.view(rows)},
                    context_);
  const std::array<Output, 2> gate_up = {{{&layer.gate, gate_.data()}, {&layer.up, up_.data()}}};
  ops_.linear({normed_.view(rows), rows, gate_up}, context_);
  ops_.swiglu({gate_.data(), up_.data(), rows, gated_.view(rows)}, context_);
  const std::array<Output, 1> down = {{{&layer.down, delta_.data()}}};
  ops_.linear({gated_.view(rows), rows, down}, context_);
}

void Transformer::Logits(const StepBatch& batch, std::span<float> logits) {
  // The wanted rows move to the front; a row never moves behind itself.
  const int64_t hidden = config_.hidden;
  int64_t wanted = 0;
  for (int64_t row = 0; row < batch.rows(); ++row) {
    if (batch.wants_logits[static_cast<size_t>(row)] == 0) continue;
    if (row != wanted) {
      std::copy_n(x_.data() + row * hidden, hidden, x_.data() + wanted * hidden);
      std::copy_n(delta_.data() + row * hidden, hidden, delta_.data() + wanted * hidden);
    }
    ++wanted;
  }
  if (wanted == 0) return;
  ops_.add_rms_norm({.x = x_.data(),
                     .delta = delta_.data(),
                     .weight = weights_.output_norm.data(),
                     .eps = config_.norm_eps,
                     .rows = wanted,
                     .out = normed_.view(wanted)},
                    context_);
  const std::array<LinearArgs::Output, 1> output = {{{&weights_.output, logits.data()}}};
  ops_.linear({normed_.view(wanted), wanted, output}, context_);
}

}  // namespace weft
