// What one rank of a model says to the others during a step.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "libs/model/shard.h"

namespace weft {

namespace comm {
class Communicator;
}

// A rank's part and its groups, which outlive everything made with it.
struct RankShard {
  ShardPlan plan;
  comm::Communicator* stage = nullptr;  // the ranks of one stage, in their order
  comm::Communicator* all = nullptr;    // the ranks of all stages
};

// One thread at a time. Errors are the communicators'.
class RankLink {
 public:
  explicit RankLink(const RankShard& rank) : rank_(rank) {}

  const ShardPlan& plan() const { return rank_.plan; }

  // data = the sum of all ranks' of this stage.
  absl::Status Sum(std::span<float> data);

  // From the rank with the same number in the stage before; to that of the stage after.
  absl::Status Receive(std::span<float> x, std::span<float> delta);
  absl::Status Pass(std::span<const float> x, std::span<const float> delta);

  // In the last stage. `compute(first, count, out)` fills out [count, plan().vocab.count] with this
  // rank's columns of rows [first, first + count); the stage's first rank gets logits [rows,
  // vocab], the others need no room for them.
  using Compute = std::function<void(int64_t first, int64_t count, float* out)>;
  absl::Status GatherLogits(int64_t rows, const Compute& compute, std::span<float> logits);

 private:
  static constexpr int64_t kRowsAtOnce = 32;

  const RankShard& rank_;
  std::vector<float> part_;      // [kRowsAtOnce, columns], padded to as many on every rank
  std::vector<float> gathered_;  // [ranks][kRowsAtOnce, columns]
};

}  // namespace weft
