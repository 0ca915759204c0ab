#include "libs/model/ffn_block.h"

#include <algorithm>
#include <array>

namespace weft {

using Output = LinearArgs::Output;

namespace {

// Rows are independent, so tiles leave no trace in them. A tile reads the weights once, for long
// enough that reading hides behind computing.
constexpr int64_t kTileRows = 128;
// A device has room for more; what is inside is fp32 there too.
constexpr int64_t kDeviceTileRows = 1024;

}  // namespace

void FfnBlock::Add(const FfnWeights& weights, int64_t width) {
  gated_.AddConsumer(width, weights.down.matrix, ops_);
  width_ = width;
}

uint64_t FfnBlock::Reserve(int64_t rows) {
  const int64_t tile = std::min(rows, TileRows());
  gated_.Reserve(tile, context_);
  if (context_.device != nullptr) {
    up_.Reserve(tile * width_, "feed-forward", context_);
    if (config_.gated_ffn) gate_.Reserve(tile * width_, "feed-forward", context_);
  }
  return gated_.bytes();
}

int64_t FfnBlock::TileRows() const {
  return context_.device == nullptr ? kTileRows : kDeviceTileRows;
}

void FfnBlock::Run(const FfnWeights& weights, const Activations& input, int64_t rows, float* out) {
  for (int64_t first = 0; first < rows; first += TileRows()) {
    const int64_t tile = std::min(TileRows(), rows - first);
    RunTile(weights, input.from(first), tile, out + first * config_.hidden);
  }
}

void FfnBlock::RunTile(const FfnWeights& weights, const Activations& input, int64_t rows,
                       float* out) {
  const Activations inside = gated_.view(rows);
  ops_.gated_linear({.input = input,
                     .rows = rows,
                     .gate = config_.gated_ffn ? weights.gate.To(gate_) : Output(),
                     .up = weights.up.To(up_),
                     .kind = config_.activation,
                     .out = inside},
                    context_);
  const std::array<Output, 1> down = {{weights.down.To(out)}};
  ops_.linear({inside, rows, down}, context_);
}

}  // namespace weft
