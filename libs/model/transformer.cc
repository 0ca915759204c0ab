#include "libs/model/transformer.h"

#include <algorithm>
#include <array>

#include "libs/base/status.h"

namespace weft {

Transformer::Transformer(const ModelConfig& config, const ModelWeights& weights,
                         const OpTable& table, OpContext& context, RankLink* link)
    : config_(config),
      weights_(weights),
      ops_(table),
      context_(context),
      link_(link),
      rope_(config, weights.rope_factors, RopeTable::Layers::kAll),
      rope_sliding_(config, weights.rope_factors, RopeTable::Layers::kSliding),
      attention_(config, weights, table, context),
      ffn_(config, table, context),
      shared_experts_(config, table, context),
      experts_(config, weights, table, context) {
  const auto consumes = [&](const LinearWeights& weight) {
    if (weight.matrix.rows > 0) normed_.AddConsumer(config.hidden, weight.matrix, ops_);
  };
  normed_.AddConsumer(config.hidden, weights.output, ops_);
  for (const LayerWeights& layer : weights.layers) {
    const AttentionWeights& a = layer.attention;
    for (const LinearWeights* weight : {&a.q, &a.k, &a.v, &a.q_a, &a.kv_a}) consumes(*weight);
    for (const LinearWeights* weight : {&layer.ffn.gate, &layer.ffn.up}) consumes(*weight);
    consumes(layer.experts.router);
    if (!layer.experts.gate.empty()) normed_.KeepFloats();  // which gather() reads
    if (layer.experts.gate.empty()) {
      ffn_.Add(layer.ffn, config.ffn);
    } else if (config.moe.shared_ffn > 0) {
      shared_experts_.Add(layer.ffn, config.moe.shared_ffn);
    }
  }
}

void Transformer::Reserve(int64_t rows) {
  if (rows <= reserved_rows_) return;
  uint64_t bytes = attention_.Reserve(rows) + ffn_.Reserve(rows);
  bytes += shared_experts_.Reserve(rows) + experts_.Reserve(rows);
  bytes += x_.Reserve(rows * config_.hidden, "residual stream", context_);
  bytes += delta_.Reserve(rows * config_.hidden, "residual delta", context_);
  bytes += ReserveFloats(cos_sin_, rows * config_.rope_dim);
  if (config_.rope_base_sliding > 0) {
    bytes += ReserveFloats(cos_sin_sliding_, rows * config_.rope_dim);
  }
  normed_.Reserve(rows, context_);
  reserved_rows_ = rows;
  scratch_bytes_.store(bytes + normed_.bytes(), std::memory_order_relaxed);
}

void Transformer::Plan(int64_t rows, int64_t logit_rows) {
  reserved_rows_ = 0;
  Reserve(rows);
  logit_rows_ = logit_rows;
  logits_.Reserve(logit_rows * config_.vocab, "logits", context_);
}

int32_t Transformer::angles() const {
  return config_.rope_dim * (config_.rope_base_sliding > 0 ? 2 : 1);
}

StepInputs Transformer::Inputs(const StepBatch& batch, const StepChoices& choices) const {
  const size_t floats = batch.tokens.size() * static_cast<size_t>(config_.rope_dim);
  const auto angles = [floats](const std::vector<float>& of) {
    return std::span(of).first(std::min(of.size(), floats));
  };
  StepInputs inputs;
  inputs.tokens = batch.tokens;
  inputs.positions = batch.positions;
  inputs.slots = batch.cache_slots;
  inputs.wanted_rows = wanted_rows_;
  inputs.cos_sin = angles(cos_sin_);
  inputs.cos_sin_sliding = angles(cos_sin_sliding_);
  inputs.sequences = sequences_;
  inputs.choices = choices.rows;
  inputs.edits = choices.edits;
  inputs.fed = choices.fed;
  inputs.counted = choices.counted;
  return inputs;
}

StepView Transformer::Prepare(const StepBatch& batch, const KvShape& shape) {
  if (context_.device == nullptr) Reserve(batch.rows());
  wanted_rows_.clear();
  for (int32_t row = 0; row < batch.rows(); ++row) {
    if (batch.wants_logits[static_cast<size_t>(row)] != 0) wanted_rows_.push_back(row);
  }
  sequences_.clear();
  for (const StepBatch::Sequence& sequence : batch.sequences) {
    sequences_.push_back({sequence.first_row, sequence.rows,
                          sequence.context_tokens - sequence.rows, sequence.block_table});
  }
  StepView step{batch, sequences_, shape, cos_sin_.data(), cos_sin_.data()};
  rope_.Fill(batch.positions, cos_sin_.data());
  if (config_.rope_base_sliding > 0) {
    rope_sliding_.Fill(batch.positions, cos_sin_sliding_.data());
    step.cos_sin_sliding = cos_sin_sliding_.data();
  }
  return step;
}

absl::Status Transformer::Run(const StepView& step, std::span<const KvLayer> cache,
                              std::span<float> logits, std::atomic<uint64_t>& progress) {
  WEFT_RETURN_IF_ERROR(Enter(step.batch));
  for (int32_t i = 0; i < config_.layers; ++i) {
    WEFT_RETURN_IF_ERROR(Layer(i, cache[static_cast<size_t>(i)], step));
    progress.fetch_add(1, std::memory_order_relaxed);
  }
  return Leave(step.batch, logits);
}

absl::Status Transformer::Forward(const StepBatch& batch, std::span<const KvLayer> cache,
                                  const KvShape& shape, std::span<float> logits,
                                  std::atomic<uint64_t>& progress) {
  const StepView step = Prepare(batch, shape);
  choosing_ = false;
  OpDevice* device = context_.device;
  if (device == nullptr) return Run(step, cache, logits, progress);
  WEFT_RETURN_IF_ERROR(device->BeginStep(Inputs(batch, {})));
  const absl::Status read = Run(step, cache, logits, progress);
  const absl::Status ended = device->EndStep();
  return read.ok() ? ended : read;
}

absl::Status Transformer::Launch(const StepBatch& batch, const StepChoices& choices, bool padded,
                                 std::span<const KvLayer> cache, const KvShape& shape,
                                 std::atomic<uint64_t>& progress) {
  const StepView step = Prepare(batch, shape);
  choosing_ = true;
  OpDevice& device = *context_.device;
  StepInputs inputs = Inputs(batch, choices);
  inputs.padded = padded;
  WEFT_RETURN_IF_ERROR(device.BeginStep(inputs));
  absl::Status status;
  if (device.replays()) {
    progress.fetch_add(static_cast<uint64_t>(config_.layers), std::memory_order_relaxed);
  } else {
    status = Run(step, cache, {}, progress);
  }
  const absl::Status launched = device.LaunchStep();
  return status.ok() ? launched : status;
}

absl::Status Transformer::Record(const StepBatch& batch, const StepChoices& choices,
                                 std::span<const KvLayer> cache, const KvShape& shape) {
  const StepView step = Prepare(batch, shape);
  choosing_ = true;
  StepInputs inputs = Inputs(batch, choices);
  inputs.padded = true;
  WEFT_RETURN_IF_ERROR(context_.device->BeginRecording(inputs));
  std::atomic<uint64_t> none{0};
  const absl::Status status = Run(step, cache, {}, none);
  const absl::Status recorded = context_.device->EndRecording();
  return status.ok() ? recorded : status;
}

absl::Status Transformer::Enter(const StepBatch& batch) {
  if (link_ != nullptr && !link_->plan().first_stage()) {
    return link_->Receive(Rows(x_, batch.rows()), Rows(delta_, batch.rows()));
  }
  Embed(batch);
  return absl::OkStatus();
}

absl::Status Transformer::Leave(const StepBatch& batch, std::span<float> logits) {
  if (link_ != nullptr && !link_->plan().last_stage()) {
    return link_->Pass(Rows(x_, batch.rows()), Rows(delta_, batch.rows()));
  }
  return Logits(logits);
}

absl::Status Transformer::SumDelta(int64_t rows) {
  return link_ == nullptr ? absl::OkStatus() : link_->Sum(Rows(delta_, rows));
}

void Transformer::Embed(const StepBatch& batch) {
  const std::span<const int32_t> tokens = batch.tokens;
  const std::span<const int32_t> positions = batch.positions;
  const size_t at_once = context_.device == nullptr ? size_t{kEmbeddedRows} : tokens.size();
  for (size_t first = 0; first < tokens.size(); first += at_once) {
    const size_t rows = std::min(at_once, tokens.size() - first);
    ops_.embed({.table = &weights_.embedding,
                .tokens = tokens.subspan(first, rows),
                .scale = config_.embedding_scale,
                .position_table = config_.learned_positions ? &weights_.positions : nullptr,
                .positions = positions.subspan(first, rows),
                .out = x_.data() + static_cast<int64_t>(first) * config_.hidden},
               context_);
    embedded_rows_ += static_cast<int64_t>(rows);
    if (embedded_rows_ < kEmbeddedRows || context_.device != nullptr) continue;
    weights_.release_embedding();
    embedded_rows_ = 0;
  }
}

void Transformer::AddNorm(const NormVectors* before, const NormVectors& norm, int64_t rows,
                          std::span<const int32_t> source) {
  AddNormArgs args{.x = x_.data(),
                   .delta = before == nullptr ? nullptr : delta_.data(),
                   .delta_scale = config_.residual_scale,
                   .kind = config_.norm,
                   .norm = norm.view(),
                   .eps = config_.norm_eps,
                   .rows = rows,
                   .source = source,
                   .out = normed_.view(rows)};
  if (before != nullptr) args.delta_norm = before->view();
  ops_.add_norm(args, context_);
}

absl::Status Transformer::Layer(int32_t index, const KvLayer& cache, const StepView& step) {
  const LayerWeights& layer = weights_.layers[static_cast<size_t>(index)];
  const int64_t rows = step.batch.rows();
  const NormVectors* before = nullptr;  // nothing comes before the embeddings
  if (index > 0) {
    before = &weights_.layers[static_cast<size_t>(index - 1)].ffn.post_norm;
  } else if (link_ != nullptr && !link_->plan().first_stage()) {
    before = &weights_.before_first;
  }
  AddNorm(before, layer.attention.norm, rows);
  attention_.Run(index, normed_.view(rows), step, cache, delta_.data());
  WEFT_RETURN_IF_ERROR(SumDelta(rows));
  AddNorm(&layer.attention.post_norm, layer.ffn.norm, rows);
  Ffn(index, rows);
  return SumDelta(rows);
}

void Transformer::Ffn(int32_t index, int64_t rows) {
  const LayerWeights& layer = weights_.layers[static_cast<size_t>(index)];
  const Activations input = normed_.view(rows);
  if (!config_.has_experts(index)) return ffn_.Run(layer.ffn, input, rows, delta_.data());
  const bool shared = config_.moe.shared_ffn > 0;
  if (shared) shared_experts_.Run(layer.ffn, input, rows, delta_.data());
  experts_.Run(layer.experts, input, rows, /*add=*/shared, delta_.data());
}

absl::Status Transformer::Logits(std::span<float> logits) {
  OpDevice* device = context_.device;
  const auto wanted = static_cast<int64_t>(wanted_rows_.size());
  const int64_t at_once = device == nullptr ? wanted : logit_rows_;
  for (int64_t first = 0; first < wanted; first += at_once) {
    const int64_t rows = std::min(at_once, wanted - first);
    AddNorm(&weights_.layers.back().ffn.post_norm, weights_.output_norm, rows,
            std::span(wanted_rows_).subspan(static_cast<size_t>(first), static_cast<size_t>(rows)));
    if (link_ != nullptr) {
      const auto project = [&](int64_t part, int64_t count, float* out) {
        Project(part, count, rows, out);
      };
      WEFT_RETURN_IF_ERROR(link_->GatherLogits(rows, project, logits));
      continue;
    }
    if (choosing_) {
      Project(0, rows, rows, logits_.data());
      device->Sample(logits_.data(), first, rows);
      continue;
    }
    const std::span<float> to = logits.subspan(static_cast<size_t>(first * config_.vocab),
                                               static_cast<size_t>(rows * config_.vocab));
    float* out = device == nullptr ? to.data() : logits_.data();
    Project(0, rows, rows, out);
    if (device != nullptr) WEFT_RETURN_IF_ERROR(device->Read(out, to));
  }
  return absl::OkStatus();
}

void Transformer::Project(int64_t first, int64_t rows, int64_t all, float* out) {
  const std::array<LinearArgs::Output, 1> output = {{{&weights_.output, out}}};
  ops_.linear({normed_.view(all).from(first), rows, output}, context_);
  if (config_.logit_scale == 1 && config_.logit_softcap == 0) return;
  ops_.scale_and_cap({.x = out,
                      .rows = rows,
                      .width = weights_.output.rows,
                      .scale = config_.logit_scale,
                      .softcap = config_.logit_softcap},
                     context_);
}

}  // namespace weft
