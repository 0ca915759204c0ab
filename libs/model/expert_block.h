// A mixture of experts in place of a layer's feed-forward network.
#pragma once

#include <cstdint>

#include "libs/model/activation_buffer.h"
#include "libs/model/model_config.h"
#include "libs/model/step_buffer.h"
#include "libs/model/weights.h"
#include "libs/ops/op_table.h"

namespace weft {

// Rows are sorted by expert, so that an expert's weights are read once a step, and summed in the
// order of the row's own slots, so that the company they were computed in leaves no trace. One
// thread at a time.
class ExpertBlock {
 public:
  // All referred to must outlive the block.
  ExpertBlock(const ModelConfig& config, const ModelWeights& weights, const OpTable& ops,
              OpContext& context);

  // Makes room for steps of `rows`; returns the bytes held.
  uint64_t Reserve(int64_t rows);

  // out [rows, hidden] (+)= the weighted sum of the chosen experts' networks of `input`; added when
  // `add`.
  void Run(const ExpertWeights& weights, const Activations& input, int64_t rows, bool add,
           float* out);

 private:
  const ModelConfig& config_;
  const OpTable& ops_;
  OpContext& context_;

  // A slot is one of a row's choices; a place is where it is computed.
  StepBuffer<float> probabilities_;  // [rows, experts]
  StepBuffer<float> slot_weights_;   // [slots]
  StepBuffer<int32_t> chosen_;       // [slots]
  StepBuffer<int32_t> place_;        // [slots]
  StepBuffer<int32_t> row_at_;       // [places]
  StepBuffer<int32_t> first_;        // [experts + 1]: an expert's places
  StepBuffer<uint8_t> tiles_;        // only on a device: what it makes of them
  ActivationBuffer gathered_;        // [places, hidden]
  StepBuffer<float> gate_, up_;      // [places, moe.ffn]
  ActivationBuffer gated_;           // [places, moe.ffn]
  StepBuffer<float> down_;           // [places, hidden]
};

}  // namespace weft
