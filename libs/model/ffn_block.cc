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
  gated_.AddConsumer(width, weights.down.matrix, ops_);
}

uint64_t FfnBlock::Reserve(int64_t rows) {
  gated_.Reserve(std::min(rows, kTileRows));
  return gated_.bytes();
}

void FfnBlock::Run(const FfnWeights& weights, const Activations& input, int64_t rows, float* out) {
  for (int64_t first = 0; first < rows; first += kTileRows) {
    const int64_t tile = std::min(kTileRows, rows - first);
    RunTile(weights, input.from(first), tile, out + first * config_.hidden);
  }
}

void FfnBlock::RunTile(const FfnWeights& weights, const Activations& input, int64_t rows,
                       float* out) {
  const Activations inside = gated_.view(rows);
  ops_.gated_linear({.input = input,
                     .rows = rows,
                     .gate = config_.gated_ffn ? weights.gate.To(nullptr) : Output(),
                     .up = weights.up.To(nullptr),
                     .kind = config_.activation,
                     .out = inside},
                    context_);
  const std::array<Output, 1> down = {{weights.down.To(out)}};
  ops_.linear({inside, rows, down}, context_);
}

}  // namespace weft
