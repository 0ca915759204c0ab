// The one transformer: a decoder-only stack written once against the op table. What families differ
// in is in ModelConfig; the halves of a layer are attention_block.h and ffn_block.h or
// expert_block.h.
#pragma once

#include <absl/status/status.h>

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "libs/model/activation_buffer.h"
#include "libs/model/attention_block.h"
#include "libs/model/device_steps.h"
#include "libs/model/expert_block.h"
#include "libs/model/ffn_block.h"
#include "libs/model/model_config.h"
#include "libs/model/rank_link.h"
#include "libs/model/rope.h"
#include "libs/model/step_batch.h"
#include "libs/model/step_buffer.h"
#include "libs/model/weights.h"
#include "libs/ops/op_table.h"

namespace weft {

// One thread at a time.
class Transformer {
 public:
  // All referred to must outlive the transformer. With `link`, one rank of several: the config and
  // the weights are its own (shard.h).
  Transformer(const ModelConfig& config, const ModelWeights& weights, const OpTable& table,
              OpContext& context, RankLink* link = nullptr);

  // `batch` is valid (model.cc checks it); `logits` holds [count(wants_logits), vocab], or nothing
  // on a rank that does not get them. Adds one to `progress` after every layer. Fails only where
  // a device or another rank does.
  absl::Status Forward(const StepBatch& batch, std::span<const KvLayer> cache, const KvShape& shape,
                       std::span<float> logits, std::atomic<uint64_t>& progress);

  // On a device: puts the step on it, where tokens are chosen, and returns. A padded step is of a
  // shape that was recorded, where the device has it.
  absl::Status Launch(const StepBatch& batch, const StepChoices& choices, bool padded,
                      std::span<const KvLayer> cache, const KvShape& shape,
                      std::atomic<uint64_t>& progress);
  // Records such a step, whose contents do not matter.
  absl::Status Record(const StepBatch& batch, const StepChoices& choices,
                      std::span<const KvLayer> cache, const KvShape& shape);

  // On a device, whose step memory is being planned: what steps of up to so many rows need.
  void Plan(int64_t rows, int64_t logit_rows);
  // Floats of a row's angles, of all tables.
  int32_t angles() const;

  // Bytes of activations, which grow with the largest batch seen. Thread safe.
  uint64_t scratch_bytes() const { return scratch_bytes_.load(std::memory_order_relaxed); }

 private:
  void Reserve(int64_t rows);
  void Embed(const StepBatch& batch);
  // x_ and delta_: the embeddings, or what the stage before has made.
  absl::Status Enter(const StepBatch& batch);
  // The logits, or the next stage's beginning.
  absl::Status Leave(const StepBatch& batch, std::span<float> logits);
  // The source's pages of the embedding are given back after so many rows: a row touches 64 KB
  // (the kernel maps the pages around it too), and the whole table is often a fifth of a small
  // model, which the repacked output holds once more.
  static constexpr int64_t kEmbeddedRows = 16;
  // delta_ = the feed-forward half of normed_.
  void Ffn(int32_t index, int64_t rows);
  absl::Status Layer(int32_t index, const KvLayer& cache, const StepView& step);
  // delta_ = the sum of the ranks' parts of it.
  absl::Status SumDelta(int64_t rows);
  std::span<float> Rows(StepBuffer<float>& values, int64_t rows) const {
    return {values.data(), static_cast<size_t>(rows * config_.hidden)};
  }
  // normed_ = norm(x_ += delta_), where delta_ (of `before`, null for none) gets its own norm and
  // scale first. With `source`, of those rows.
  void AddNorm(const NormVectors* before, const NormVectors& norm, int64_t rows,
               std::span<const int32_t> source = {});
  // What a step's ops are given beside the batch.
  StepView Prepare(const StepBatch& batch, const KvShape& shape);
  StepInputs Inputs(const StepBatch& batch, const StepChoices& choices) const;
  // From the tokens to the logits, or to the chosen tokens where there is nowhere to put logits.
  absl::Status Run(const StepView& step, std::span<const KvLayer> cache, std::span<float> logits,
                   std::atomic<uint64_t>& progress);
  // Of wanted_rows_.
  absl::Status Logits(std::span<float> logits);
  // out [rows, width of the output matrix] of normed_'s rows [first, first + rows) of `all`.
  void Project(int64_t first, int64_t rows, int64_t all, float* out);

  const ModelConfig& config_;
  const ModelWeights& weights_;
  const OpTable& ops_;
  OpContext& context_;
  RankLink* const link_;  // null: this is the only rank
  const RopeTable rope_;
  const RopeTable rope_sliding_;
  AttentionBlock attention_;
  FfnBlock ffn_;
  FfnBlock shared_experts_;
  ExpertBlock experts_;
  int64_t reserved_rows_ = 0;
  int64_t embedded_rows_ = 0;  // since pages were given back
  std::atomic<uint64_t> scratch_bytes_{0};

  StepBuffer<float> x_;      // [rows, hidden]: the residual stream
  StepBuffer<float> delta_;  // [rows, hidden]: what the next norm adds to it
  std::vector<float> cos_sin_, cos_sin_sliding_;
  ActivationBuffer normed_{ActivationBuffer::Floats::kIfRead};  // [rows, hidden]
  std::vector<AttentionSequence> sequences_;
  std::vector<int32_t> wanted_rows_;  // that want logits
  bool choosing_ = false;             // in the step in hand, on the device
  StepBuffer<float> logits_;          // [logit_rows_, vocab]; only on a device
  int64_t logit_rows_ = 0;
};

}  // namespace weft
