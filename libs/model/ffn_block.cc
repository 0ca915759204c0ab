#include "libs/model/ffn_block.h"

#include <array>

namespace weft {

using Output = LinearArgs::Output;

void FfnBlock::Add(const FfnWeights& weights, int64_t width) {
  width_ = width;
  gated_.AddConsumer(width, weights.down.matrix, ops_);
}

uint64_t FfnBlock::Reserve(int64_t rows) {
  uint64_t bytes = ReserveFloats(up_, rows * width_);
  if (config_.gated_ffn) bytes += ReserveFloats(gate_, rows * width_);
  gated_.Reserve(rows);
  return bytes + gated_.bytes();
}

void FfnBlock::Run(const FfnWeights& weights, const Activations& input, int64_t rows, float* out) {
  const bool gated = config_.gated_ffn;
  const std::array<Output, 2> inner = {
      {weights.up.To(up_), gated ? weights.gate.To(gate_) : Output()}};
  ops_.linear({input, rows, std::span(inner).first(gated ? 2 : 1)}, context_);
  ops_.activate({.kind = config_.activation,
                 .gate = gated ? gate_.data() : nullptr,
                 .up = up_.data(),
                 .rows = rows,
                 .out = gated_.view(rows)},
                context_);
  const std::array<Output, 1> down = {{weights.down.To(out)}};
  ops_.linear({gated_.view(rows), rows, down}, context_);
}

}  // namespace weft
