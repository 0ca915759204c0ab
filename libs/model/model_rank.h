// One rank of a model that several compute: its part of the weights, its groups, its steps.
#pragma once

#include <absl/status/status.h>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "libs/comm/communicator.h"
#include "libs/model/model.h"
#include "libs/model/rank_link.h"
#include "libs/model/step_batch.h"

namespace weft {

// A step as ranks compute it, with what it refers to.
class RankStep {
 public:
  // For a pipeline of so many stages, which work on parts of the batch at the same time.
  RankStep(const StepBatch& batch, int32_t stages);
  RankStep(const RankStep&) = delete;
  RankStep& operator=(const RankStep&) = delete;

  const std::vector<StepBatch>& parts() const { return parts_; }

 private:
  std::vector<int32_t> tables_;
  StepBatch batch_;
  std::vector<StepBatch> parts_;
};

// One thread at a time. Stays where it is: its model refers to it.
struct ModelRank {
  RankShard shard;
  std::unique_ptr<comm::Communicator> all;
  std::unique_ptr<comm::Communicator> stage;  // null: the same as `all`
  std::unique_ptr<Model> model;

  // The groups that steps speak through.
  void SetGroups(std::unique_ptr<comm::Communicator> all_ranks,
                 std::unique_ptr<comm::Communicator> stage_ranks);

  // This rank's part of a step that passed Model::Check. Rank 0 gets `out` [wanted rows, vocab],
  // the others need no room for it. A failure is the end of all ranks.
  absl::Status Run(const RankStep& step, std::span<float> out, size_t vocab);

 private:
  absl::Status Compute(const RankStep& step, std::span<float> out, size_t vocab);

  std::vector<float> logits_;  // of the first rank of the last stage, when it is not rank 0
};

}  // namespace weft
