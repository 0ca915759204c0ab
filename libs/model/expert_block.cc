#include "libs/model/expert_block.h"

#include <algorithm>
#include <array>

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
  uint64_t bytes = ReserveFloats(probabilities_, rows * moe.experts);
  bytes += ReserveFloats(slot_weights_, slots);
  bytes += ReserveFloats(gate_, slots * moe.ffn);
  bytes += ReserveFloats(up_, slots * moe.ffn);
  bytes += ReserveFloats(down_, slots * config_.hidden);
  for (std::vector<int32_t>* indices : {&chosen_, &place_, &row_at_}) {
    indices->resize(std::max(indices->size(), static_cast<size_t>(slots)));
    bytes += indices->size() * sizeof(int32_t);
  }
  first_.resize(static_cast<size_t>(moe.experts) + 1);
  for (ActivationBuffer* buffer : {&gathered_, &gated_}) {
    buffer->Reserve(slots, context_);
    bytes += buffer->bytes();
  }
  return bytes;
}

// A counting sort of the slots, which keeps rows in order.
void ExpertBlock::SortByExpert(int64_t rows) {
  const int32_t used = config_.moe.used;
  const auto slots = static_cast<size_t>(rows * used);
  std::fill(first_.begin(), first_.end(), 0);
  for (size_t slot = 0; slot < slots; ++slot) ++first_[static_cast<size_t>(chosen_[slot]) + 1];
  for (size_t e = 1; e < first_.size(); ++e) first_[e] += first_[e - 1];
  std::vector<int32_t> next = first_;
  for (size_t slot = 0; slot < slots; ++slot) {
    const int32_t place = next[static_cast<size_t>(chosen_[slot])]++;
    place_[slot] = place;
    row_at_[static_cast<size_t>(place)] = static_cast<int32_t>(slot) / used;
  }
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
  SortByExpert(rows);
  ops_.gather({input, std::span(row_at_).first(static_cast<size_t>(slots)), gathered_.view(slots)},
              context_);
  const std::array<Output, 2> inner = {{{weights.gate, gate_.data()}, {weights.up, up_.data()}}};
  ops_.expert_linear({gathered_.view(slots), first_, inner}, context_);
  ops_.activate({.kind = config_.activation,
                 .gate = gate_.data(),
                 .up = up_.data(),
                 .rows = slots,
                 .out = gated_.view(slots)},
                context_);
  const std::array<Output, 1> down = {{{weights.down, down_.data()}}};
  ops_.expert_linear({gated_.view(slots), first_, down}, context_);
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
