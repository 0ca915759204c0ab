// The opposite of gguf_config.cc: a ModelConfig as GGUF metadata.
#pragma once

#include <absl/status/status.h>

#include <vector>

#include "libs/model/model_config.h"

namespace weft {

class GgufWriter;

// Adds general.architecture and `<arch>.*`, under the keys and with the values that llama.cpp's
// converter writes. What a file of the architecture cannot say otherwise gets keys that newer files
// have for other architectures (attention.scale, attention.sliding_window_pattern,
// attention.rope_pattern), and dynamic RoPE one of our own: rope.scaling.dynamic_factor.
void AddGgufConfig(const ModelConfig& config, GgufWriter& writer);

// [rope_dim / 2] each, empty where the model has none: what GGUF holds as tensors.
struct RopeFactorTensors {
  std::vector<float> all;                    // rope_freqs.weight
  std::vector<float> long_ones, short_ones;  // rope_factors_{long,short}.weight
};
RopeFactorTensors RopeFactorsOf(const ModelConfig& config);

// What `wanted` computes and `found`, read back from its metadata, does not: UNIMPLEMENTED names
// it. Not compared are the pairing of rotating elements, which decides the order of rows, and what
// tensors say by being there.
absl::Status CheckSameComputation(const ModelConfig& wanted, const ModelConfig& found);

}  // namespace weft
