#include "libs/model/ffn_block.h"

#include <algorithm>
#include <array>

namespace weft {

using Output = LinearArgs::Output;

namespace {

// Rows are independent, so tiles leave no trace in them. A tile reads the weights once, for long
// enough that reading hides behind computing.
constexpr int64_t kTileRows = 128;

}  // namespace

void FfnBlock::Add(const FfnWeights& weights, int64_t width) {
  width_ = width;
  gated_.AddConsumer(width, weights.down.matrix, ops_);
}

uint64_t FfnBlock::Reserve(int64_t rows) {
  const int64_t tile = std::min(rows, kTileRows);
  const uint64_t bytes = config_.gated_ffn ? ReserveFloats(other_, tile * width_) : 0;
  gated_.Reserve(tile);
  return bytes + gated_.bytes();
}

void FfnBlock::Run(const FfnWeights& weights, const Activations& input, int64_t rows, float* out) {
  for (int64_t first = 0; first < rows; first += kTileRows) {
    const int64_t tile = std::min(kTileRows, rows - first);
    RunTile(weights, input.from(first), tile, out + first * config_.hidden);
  }
}

void FfnBlock::RunTile(const FfnWeights& weights, const Activations& input, int64_t rows,
                       float* out) {
  const bool gated = config_.gated_ffn;
  const Activations inside = gated_.view(rows);
  const std::array<Output, 2> inner = {
      {gated ? weights.gate.To(inside.data) : weights.up.To(inside.data),
       gated ? weights.up.To(other_) : Output()}};
  ops_.linear({input, rows, std::span(inner).first(gated ? 2 : 1)}, context_);
  ops_.activate({.kind = config_.activation,
                 .gate = gated ? inside.data : nullptr,
                 .up = gated ? other_.data() : inside.data,
                 .rows = rows,
                 .out = inside},
                context_);
  const std::array<Output, 1> down = {{weights.down.To(out)}};
  ops_.linear({inside, rows, down}, context_);
}

}  // namespace weft
