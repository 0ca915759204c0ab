// The feed-forward half of a layer.
#pragma once

#include <cstdint>

#include "libs/model/activation_buffer.h"
#include "libs/model/model_config.h"
#include "libs/model/step_buffer.h"
#include "libs/model/weights.h"
#include "libs/ops/op_table.h"

namespace weft {

// One thread at a time.
class FfnBlock {
 public:
  FfnBlock(const ModelConfig& config, const OpTable& ops, OpContext& context)
      : config_(config), ops_(ops), context_(context) {}

  // Every network that Run will be given, of `width` inside. Before the first Reserve.
  void Add(const FfnWeights& weights, int64_t width);

  // Makes room for steps of `rows`; returns the bytes held.
  uint64_t Reserve(int64_t rows);

  // out [rows, hidden] = down(act(gate(input)) * up(input)), or down(act(up(input))).
  void Run(const FfnWeights& weights, const Activations& input, int64_t rows, float* out);

 private:
  int64_t TileRows() const;
  void RunTile(const FfnWeights& weights, const Activations& input, int64_t rows, float* out);

  const ModelConfig& config_;
  const OpTable& ops_;
  OpContext& context_;
  // [tile, width]: what is inside a network is several times as wide as what goes through it.
  ActivationBuffer gated_{ActivationBuffer::Floats::kIfRead};
  int64_t width_ = 0;
  StepBuffer<float> gate_, up_;  // [tile, width]; only on a device
};

}  // namespace weft
