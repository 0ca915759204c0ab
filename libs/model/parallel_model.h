// A model whose parts are computed by several ranks, which are threads of this process.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "libs/comm/in_process.h"
#include "libs/model/model.h"
#include "libs/model/model_runner.h"
#include "libs/model/shard.h"

namespace weft {

struct ParallelOptions {
  Parallelism group;

  // How long a rank waits for another. Whoever waits in vain tears all ranks down.
  std::chrono::milliseconds timeout{30'000};

  // Makes the communicators of a group; in the order of the ranks.
  using MakeGroup = std::function<absl::StatusOr<std::vector<std::unique_ptr<comm::Communicator>>>(
      const comm::InProcessOptions&)>;
  MakeGroup make_group = comm::MakeInProcessGroup;
};

// Rank 0 is the thread that calls Forward, which gives the other ranks the same step. The threads
// of ModelOptions are divided among the ranks, at least one each. Every rank owns its part of the
// weights and of the KV cache; repacked weights are not kept on disk.
//
// A step is computed in one order of additions for a given tensor_parallel, whatever the timing,
// the batch and the stages: a pipeline alone gives the bits of one rank.
//
// A rank that fails, or that lets another wait longer than `timeout`, ends the whole model: Forward
// and health() then say which it was, for ever.
class ParallelModel final : public ModelRunner {
 public:
  static absl::StatusOr<std::unique_ptr<ParallelModel>> Load(const std::string& path,
                                                             const ModelOptions& options,
                                                             const ParallelOptions& parallel);
  static absl::StatusOr<std::unique_ptr<ParallelModel>> Load(const ModelSource& source,
                                                             const ModelOptions& options,
                                                             const ParallelOptions& parallel);
  // A rank that hangs, for `timeout` and longer, is left behind with its memory.
  ~ParallelModel() override;

  const ModelConfig& config() const override { return config_; }
  absl::Status AllocateKv(int32_t blocks, int32_t block_tokens) override;
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
  struct Crew;
  ParallelModel(ModelConfig config, const ParallelOptions& options, std::shared_ptr<Crew> crew);

  ModelConfig config_;
  const ParallelOptions options_;
  const std::shared_ptr<Crew> crew_;  // threads that hang keep it
  std::vector<std::thread> threads_;  // of ranks 1 and up
};

}  // namespace weft
