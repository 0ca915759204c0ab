#include "libs/model/expert_block.h"

#include <array>
#include <span>
#include <string_view>

#include "libs/ops/op_device.h"

namespace weft {

ExpertBlock::ExpertBlock(const ModelConfig& config, const ModelWeights& weights, const OpTable& ops,
                         OpContext& context)
    : config_(config), ops_(ops), context_(context) {
  for (const LayerWeights& layer : weights.layers) {
    const ExpertWeights& experts = layer.experts;
    for (const Weight& weight : experts.gate) gathered_.AddConsumer(config.hidden, weight, ops);
    for (const Weight& weight : experts.up) gathered_.AddConsumer(config.hidden, weight, ops);
    for (const Weight& weight : experts.down) gated_.AddConsumer(config.moe.ffn, weight, ops);
  }
}

uint64_t ExpertBlock::Reserve(int64_t rows) {
  const MoeConfig& moe = config_.moe;
  if (moe.experts == 0) return 0;
  const int64_t slots = rows * moe.used;
  constexpr std::string_view kName = "experts";
  uint64_t bytes = probabilities_.Reserve(rows * moe.experts, kName, context_);
  bytes += slot_weights_.Reserve(slots, kName, context_);
  for (StepBuffer<float>* inner : {&gate_, &up_}) {
    bytes += inner->Reserve(slots * moe.ffn, kName, context_);
  }
  bytes += down_.Reserve(slots * config_.hidden, kName, context_);
  for (StepBuffer<int32_t>* indices : {&chosen_, &place_, &row_at_}) {
    bytes += indices->Reserve(slots, kName, context_);
  }
  bytes += first_.Reserve(moe.experts + 1, kName, context_);
  if (context_.device != nullptr) {
    const uint64_t tiles = context_.device->ExpertTileBytes(slots, moe.experts);
    tiles_.Reserve(static_cast<int64_t>(tiles), kName, context_);
  }
  for (ActivationBuffer* buffer : {&gathered_, &gated_}) {
    buffer->Reserve(slots, context_);
    bytes += buffer->bytes();
  }
  return bytes;
}

void ExpertBlock::Run(const ExpertWeights& weights, const Activations& input, int64_t rows,
                      bool add, float* out) {
  using Output = ExpertLinearArgs::Output;
  const MoeConfig& moe = config_.moe;
  const int64_t slots = rows * moe.used;
  const std::array<LinearArgs::Output, 1> router = {{weights.router.To(probabilities_.data())}};
  ops_.linear({input, rows, router}, context_);
  ops_.route({.logits = probabilities_.data(),
              .rows = rows,
              .experts = moe.experts,
              .used = moe.used,
              .scoring = moe.scoring,
              .groups = moe.groups,
              .groups_used = moe.groups_used,
              .normalise = moe.normalise,
              .scale = moe.scale,
              .chosen = chosen_.data(),
              .weights = slot_weights_.data()},
             context_);
  ops_.permute({.chosen = chosen_.data(),
                .rows = rows,
                .used = moe.used,
                .experts = moe.experts,
                .place = place_.data(),
                .row_at = row_at_.data(),
                .first = first_.data(),
                .tiles = tiles_.data()},
               context_);
  const std::span row_at(row_at_.data(), static_cast<size_t>(slots));
  const std::span first(first_.data(), static_cast<size_t>(moe.experts) + 1);
  ops_.gather({input, row_at, gathered_.view(slots)}, context_);
  const std::array<Output, 2> inner = {{{weights.gate, gate_.data()}, {weights.up, up_.data()}}};
  ops_.expert_linear({gathered_.view(slots), first, inner, slots, tiles_.data()}, context_);
  ops_.activate({.kind = config_.activation,
                 .gate = gate_.data(),
                 .up = up_.data(),
                 .rows = slots,
                 .out = gated_.view(slots)},
                context_);
  const std::array<Output, 1> down = {{{weights.down, down_.data()}}};
  ops_.expert_linear({gated_.view(slots), first, down, slots, tiles_.data()}, context_);
  ops_.combine({.x = down_.data(),
                .place = place_.data(),
                .weights = slot_weights_.data(),
                .base = add ? out : nullptr,
                .rows = rows,
                .used = moe.used,
                .width = config_.hidden,
                .out = out},
               context_);
}

}  // namespace weft
