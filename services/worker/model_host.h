// One model that the worker serves: the file, its engine on a thread of its own, what is told of
// it.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <string>

#include "libs/engine/engine_loop.h"
#include "services/worker/config.h"
#include "services/worker/session_hub.h"

namespace weft {
struct LoadProgress;
class Tokenizer;
}  // namespace weft

namespace weft::worker {

// The methods of EnginePort are thread safe.
class ModelHost final : public EnginePort {
 public:
  // Reads the file, checks and repacks the weights, allocates the KV cache: seconds. `progress`
  // is called meanwhile. With worker.ranks it waits for the other ranks, until `stopped` says so;
  // should one go later, the process ends.
  static absl::StatusOr<std::unique_ptr<ModelHost>> Load(
      const ModelEntry& entry, const Config& config,
      const std::function<void(const LoadProgress&)>& progress,
      const std::function<bool()>& stopped);

  // The sink is called on the engine's thread. Once.
  void Start(engine::StepSink sink);
  void BeginDrain();
  bool WaitDrained(std::chrono::nanoseconds timeout);
  void Stop();  // twice is legal

  const v1::ModelInfo& info() const override { return info_; }
  uint32_t max_sequences() const override;
  uint32_t kv_blocks() const override { return kv_blocks_; }
  absl::Status Submit(engine::WorkItem item) override;
  void Cancel(std::span<const uint64_t> ids) override;
  void RequestKvSnapshot() override;
  engine::EngineStats Stats() const override;
  engine::EngineProgress progress() const;

  // What GetTokenizer ships.
  const std::string& tokenizer_bytes() const { return tokenizer_bytes_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  // Where the weights came from: "repacked", "repacked and kept", "cache" or (to a GPU) "copied";
  // and what kept the cache (worker.repack_cache) from being used.
  const std::string& weights_from() const { return weights_from_; }
  const absl::Status& cache_problem() const { return cache_problem_; }
  const std::string& isa() const { return isa_; }
  int32_t threads() const { return threads_; }
  double load_seconds() const { return load_seconds_; }
  // Of the GPU that it computes on; empty: the CPU.
  const std::string& pci_bus_id() const { return pci_bus_id_; }
  // Bytes of the file's weights by the time it took to repack them, or to copy them to a GPU.
  double load_bytes_per_second() const { return load_bytes_per_second_; }

 private:
  ModelHost() = default;
  // What only models say that were loaded from a file.
  template <typename Loaded>
  void Describe(const Loaded& model);

  v1::ModelInfo info_;
  std::string tokenizer_bytes_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::string weights_from_;
  absl::Status cache_problem_;
  std::string isa_;
  int32_t threads_ = 0;
  uint32_t kv_blocks_ = 0;
  double load_seconds_ = 0;
  std::string pci_bus_id_;
  double load_bytes_per_second_ = 0;
  std::unique_ptr<engine::Engine> engine_;  // until Start
  std::unique_ptr<engine::EngineLoop> loop_;
  engine::Engine* running_ = nullptr;
};

}  // namespace weft::worker
