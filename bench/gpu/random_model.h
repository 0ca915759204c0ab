// Models of a given shape whose weights no file holds (ops/random_gpu.h): as many bytes, tensors
// and operations as the real ones, and text without meaning.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/model/model_source.h"
#include "libs/tensor/dtype.h"

namespace weft::bench {

// "llama3-8b", "llama3-70b", "qwen2.5-coder-7b", "qwen2.5-coder-32b", and "tiny" for trying things
// out. kInvalidArgument, with their list, for others.
absl::StatusOr<ModelConfig> ShapeOf(std::string_view name);
std::vector<std::string_view> ShapeNames();

// Matrices of `type`. They have addresses and no memory: only a device that makes weights up
// (GpuContext::MakeUpWeights) can load them. Vectors are there.
ModelSource RandomSource(const ModelConfig& config, DType type);

// Bytes that a step must read whatever the batch: all matrices but the embedding's table, of which
// it reads a row a token.
uint64_t WeightBytesOfStep(const ModelConfig& config, DType type);
// Bytes of keys and values of one token, all layers, in 16 bits.
uint64_t KvBytesOfToken(const ModelConfig& config);

}  // namespace weft::bench
