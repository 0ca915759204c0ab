// Which part of a model a rank computes: pure functions of the configuration.
//
// Ranks = tensor * pipeline. Rank r is number r % tensor of stage r / tensor. A stage computes some
// layers; the ranks of a stage share each of its layers: Megatron-LM,
// https://arxiv.org/abs/1909.08053. What is not named here is on every rank of the stage.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <vector>

#include "libs/model/model_config.h"

namespace weft {

inline constexpr int32_t kMaxParallel = 64;  // ranks altogether

struct Parallelism {
  int32_t tensor = 1;
  int32_t pipeline = 1;

  int32_t ranks() const { return tensor * pipeline; }
  absl::Status Validate() const;
};

// [first, first + count) of `total`.
struct Slice {
  int64_t first = 0;
  int64_t count = 0;
  int64_t total = 0;

  bool whole() const { return count == total; }
  // The same where each is `width` wide.
  Slice times(int64_t width) const { return {first * width, count * width, total * width}; }
  bool operator==(const Slice&) const = default;
};

struct ShardPlan {
  Parallelism group = {};
  int32_t rank = 0;

  Slice layers = {};
  Slice heads = {};       // rows of q, columns of the attention's output projection
  Slice kv_heads = {};    // rows of k and v; several ranks have the same when there are more ranks
  Slice ffn = {};         // rows of gate and up, columns of down, where a layer has no experts
  Slice expert_ffn = {};  // the same of each expert
  Slice shared_ffn = {};  // the same of the shared experts
  Slice vocab = {};       // rows of the output matrix; the last ranks may have fewer

  int32_t tensor_rank() const { return rank % group.tensor; }
  int32_t stage() const { return rank / group.tensor; }
  bool first_stage() const { return stage() == 0; }
  bool last_stage() const { return stage() + 1 == group.pipeline; }
  // Adds what is added once, such as the bias of a matrix whose columns are divided.
  bool adds_bias() const { return tensor_rank() == 0; }
};

// kInvalidArgument when something cannot be divided: names the tensors, their size, and the numbers
// of ranks that would do.
absl::StatusOr<ShardPlan> PlanShard(const ModelConfig& config, const Parallelism& group,
                                    int32_t rank);

// The numbers of ranks, up to kMaxParallel, that every layer of a model can be divided among.
std::vector<int32_t> TensorParallelSizes(const ModelConfig& config);

// The model of one rank that owns everything.
ShardPlan WholeModel(const ModelConfig& config);

// What the rank's transformer sees: fewer layers, heads and feed-forward columns. The vocabulary
// stays whole: it is what tokens are taken from.
ModelConfig LocalConfig(const ModelConfig& config, const ShardPlan& plan);

}  // namespace weft
