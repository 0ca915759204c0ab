#include "libs/model/shard.h"

#include <algorithm>
#include <string>

#include "libs/base/status.h"

namespace weft {
namespace {

Slice Divide(int64_t total, int32_t parts, int32_t part) {
  return {total / parts * part, total / parts, total};
}

// Every layer has experts: the plain network's width means nothing.
bool HasDenseLayers(const ModelConfig& config) {
  return config.moe.experts == 0 || config.moe.first_dense > 0;
}

int64_t VocabRows(const ModelConfig& config, int32_t tensor) {
  return (config.vocab + int64_t{tensor} - 1) / tensor;
}

std::string SizesText(const ModelConfig& config) {
  return fmt::format("{}", fmt::join(TensorParallelSizes(config), ", "));
}

// Why the layers cannot be divided among `tensor` ranks; OK when they can.
absl::Status CheckTensor(const ModelConfig& config, int32_t tensor,
                         const std::string& sizes_that_do) {
  const auto check = [&](const char* tensors, const char* what, int64_t size) -> absl::Status {
    if (size % tensor == 0) return absl::OkStatus();
    return InvalidArgument("{}: {} {} cannot be divided among {} ranks; tensor_parallel may be {}",
                           tensors, size, what, tensor, sizes_that_do);
  };
  WEFT_RETURN_IF_ERROR(check("attn_q, attn_output", "heads", config.heads));
  if (config.kv_heads % tensor != 0 && tensor % config.kv_heads != 0) {
    return InvalidArgument(
        "attn_k, attn_v: {} heads of keys can neither be divided among {} ranks nor copied evenly "
        "to them; tensor_parallel may be {}",
        config.kv_heads, tensor, sizes_that_do);
  }
  if (HasDenseLayers(config)) {
    WEFT_RETURN_IF_ERROR(check("ffn_gate, ffn_up, ffn_down", "columns", config.ffn));
  }
  if (config.moe.experts > 0) {
    WEFT_RETURN_IF_ERROR(
        check("ffn_gate_exps, ffn_up_exps, ffn_down_exps", "columns", config.moe.ffn));
    WEFT_RETURN_IF_ERROR(
        check("ffn_gate_shexp, ffn_up_shexp, ffn_down_shexp", "columns", config.moe.shared_ffn));
  }
  if (VocabRows(config, tensor) * (tensor - 1) >= config.vocab) {
    return InvalidArgument("output: {} rows are too few for {} ranks; tensor_parallel may be {}",
                           config.vocab, tensor, sizes_that_do);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Parallelism::Validate() const {
  if (tensor < 1 || tensor > kMaxParallel) {
    return InvalidArgument("tensor_parallel: expected a value in [1, {}], found {}", kMaxParallel,
                           tensor);
  }
  if (pipeline < 1 || pipeline > kMaxParallel / tensor) {
    return InvalidArgument("pipeline_parallel: expected a value in [1, {}], found {}",
                           kMaxParallel / tensor, pipeline);
  }
  return absl::OkStatus();
}

std::vector<int32_t> TensorParallelSizes(const ModelConfig& config) {
  std::vector<int32_t> sizes;
  for (int32_t tensor = 1; tensor <= kMaxParallel; ++tensor) {
    if (CheckTensor(config, tensor, "").ok()) sizes.push_back(tensor);
  }
  return sizes;
}

absl::StatusOr<ShardPlan> PlanShard(const ModelConfig& config, const Parallelism& group,
                                    int32_t rank) {
  WEFT_RETURN_IF_ERROR(group.Validate());
  if (rank < 0 || rank >= group.ranks()) {
    return InvalidArgument("rank: expected a value in [0, {}), found {}", group.ranks(), rank);
  }
  if (group.pipeline > config.layers) {
    return InvalidArgument("pipeline_parallel: {} stages for {} layers", group.pipeline,
                           config.layers);
  }
  WEFT_RETURN_IF_ERROR(CheckTensor(config, group.tensor, SizesText(config)));
  ShardPlan plan{.group = group, .rank = rank};
  const int64_t stage = plan.stage();
  const int64_t layer = config.layers * stage / group.pipeline;
  plan.layers = {layer, config.layers * (stage + 1) / group.pipeline - layer, config.layers};
  const int32_t tensor = group.tensor;
  const int32_t own = plan.tensor_rank();
  plan.heads = Divide(config.heads, tensor, own);
  if (tensor <= config.kv_heads) {
    plan.kv_heads = Divide(config.kv_heads, tensor, own);
  } else {
    plan.kv_heads = {own / (tensor / config.kv_heads), 1, config.kv_heads};
  }
  plan.ffn = Divide(config.ffn, tensor, own);
  plan.expert_ffn = Divide(config.moe.ffn, tensor, own);
  plan.shared_ffn = Divide(config.moe.shared_ffn, tensor, own);
  const int64_t rows = VocabRows(config, tensor);
  plan.vocab = {rows * own, std::min(rows, config.vocab - rows * own), config.vocab};
  return plan;
}

ShardPlan WholeModel(const ModelConfig& config) {
  return {.layers = {0, config.layers, config.layers},
          .heads = {0, config.heads, config.heads},
          .kv_heads = {0, config.kv_heads, config.kv_heads},
          .ffn = {0, config.ffn, config.ffn},
          .expert_ffn = {0, config.moe.ffn, config.moe.ffn},
          .shared_ffn = {0, config.moe.shared_ffn, config.moe.shared_ffn},
          .vocab = {0, config.vocab, config.vocab}};
}

ModelConfig LocalConfig(const ModelConfig& config, const ShardPlan& plan) {
  ModelConfig local = config;
  const auto first = static_cast<int32_t>(plan.layers.first);
  local.layers = static_cast<int32_t>(plan.layers.count);
  for (std::vector<uint8_t>* each : {&local.sliding_layers, &local.rope_layers}) {
    if (each->empty()) continue;
    each->erase(each->begin(), each->begin() + first);
    each->resize(static_cast<size_t>(local.layers));
  }
  local.moe.first_dense = std::clamp(config.moe.first_dense - first, 0, local.layers);
  local.heads = static_cast<int32_t>(plan.heads.count);
  local.kv_heads = static_cast<int32_t>(plan.kv_heads.count);
  local.ffn = static_cast<int32_t>(plan.ffn.count);
  local.moe.ffn = static_cast<int32_t>(plan.expert_ffn.count);
  local.moe.shared_ffn = static_cast<int32_t>(plan.shared_ffn.count);
  return local;
}

}  // namespace weft
