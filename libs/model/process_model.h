// A model whose ranks are processes, on one machine or several: rank 0, which the engine calls, and
// those that follow it.
//
// Rank 0 gives every step to the others as bytes (step_wire.h) before it computes its part. Between
// steps it says every `heartbeat` that it is there, so that a rank that waits knows from one that
// hangs. A process that ends, or that lets another wait longer than the groups' timeout, ends the
// group for all, and with it the model.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "libs/comm/communicator.h"
#include "libs/model/model.h"
#include "libs/model/model_runner.h"
#include "libs/model/model_source.h"
#include "libs/model/shard.h"

namespace weft {

struct RankGroups {
  std::unique_ptr<comm::Communicator> all;
  std::unique_ptr<comm::Communicator> stage;  // of the rank's stage; null: the same as `all`
};

struct ProcessRankOptions {
  Parallelism group;
  int32_t rank = 0;
  // Makes the groups. Called once this rank's weights are there: ranks load at different speeds.
  std::function<absl::StatusOr<RankGroups>()> join;
  // At most a quarter of the groups' timeout.
  std::chrono::milliseconds heartbeat{1'000};
  // Of rank 0, may be empty: the group has ended, also while nobody asks for a step. Called once,
  // from a thread of the model's own.
  std::function<void(const absl::Status&)> gone;

  absl::Status Validate() const;
};

// Rank 0. Memory and progress are this process's; `options.threads` too.
class LeadingModel final : public ModelRunner {
 public:
  static absl::StatusOr<std::unique_ptr<LeadingModel>> Load(const std::string& path,
                                                            const ModelOptions& options,
                                                            const ProcessRankOptions& rank);
  static absl::StatusOr<std::unique_ptr<LeadingModel>> Load(const ModelSource& source,
                                                            const ModelOptions& options,
                                                            const ProcessRankOptions& rank);
  // Tells the others that it is over.
  ~LeadingModel() override;

  const ModelConfig& config() const override;
  absl::Status AllocateKv(int32_t blocks, int32_t block_tokens) override;
  // Of the rank that has the most layers and heads, since each has memory of its own.
  uint64_t KvBytesPerBlock(int32_t block_tokens) const override;
  absl::Status Forward(const StepBatch& batch, std::span<float> logits) override;
  absl::Status health() const override;
  uint64_t layer_progress() const override;
  std::string weights_sha256() const override;
  std::string quantization() const override;
  std::string numerics_class() const override;
  uint64_t memory_bytes() const override;

  // As of Model.
  uint64_t parameter_count() const;
  int32_t threads() const;
  std::string isa() const;

 private:
  struct State;
  explicit LeadingModel(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

// Any other rank.
class FollowingRank {
 public:
  static absl::StatusOr<std::unique_ptr<FollowingRank>> Load(const std::string& path,
                                                             const ModelOptions& options,
                                                             const ProcessRankOptions& rank);
  static absl::StatusOr<std::unique_ptr<FollowingRank>> Load(const ModelSource& source,
                                                             const ModelOptions& options,
                                                             const ProcessRankOptions& rank);
  ~FollowingRank();

  // Does what rank 0 says until that says that it is over (OK) or the group ends (why). Once.
  absl::Status Run();
  // Ends the group. Any thread.
  void Abort(const absl::Status& reason);
  uint64_t layer_progress() const;

 private:
  struct State;
  explicit FollowingRank(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

}  // namespace weft
