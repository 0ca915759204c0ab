// An engine that computes nothing: one token for each sequence at each tick.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "services/worker/session_hub.h"

namespace weft::bench {

struct PacedOptions {
  // Between two steps; 0: as fast as it goes.
  std::chrono::microseconds step{10'000};
  // The first token comes at once instead of with the next step: what is measured then is the mesh.
  bool first_token_at_once = false;
  // Token k of a sequence comes exactly k steps after the sequence did, whatever the others do:
  // what a request's whole time exceeds (tokens - 1) * step by is the mesh. Unlike a real engine's,
  // a step has few sequences then.
  bool own_pace = false;
  uint32_t max_sequences = 1024;
};

// Token i of a sequence is a function of i; a sequence ends at max_tokens. Thread safe.
class PacedEngine final : public worker::EnginePort {
 public:
  PacedEngine(v1::ModelInfo info, const PacedOptions& options);
  ~PacedEngine() override;

  void Start(std::function<void(const engine::StepOutput&)> sink);

  const v1::ModelInfo& info() const override { return info_; }
  uint32_t max_sequences() const override { return options_.max_sequences; }
  uint32_t kv_blocks() const override { return 1u << 20; }
  absl::Status Submit(engine::WorkItem item) override;
  void Cancel(std::span<const uint64_t> ids) override;
  void RequestKvSnapshot() override {}
  engine::EngineStats Stats() const override;

 private:
  struct Sequence {
    uint32_t attempt = 0;
    uint32_t next = 0;
    uint32_t end = 0;
    bool started = false;
    SteadyTime due;  // of the next token, with own_pace
  };
  void Run();
  void RunOwnPace();
  void BeginStep(engine::StepOutput& out);  // the step's number and the cancelled
  // Adds the sequence's next token. True when it was the last one.
  static bool AddToken(engine::StepOutput& out, uint64_t id, Sequence& sequence);

  const v1::ModelInfo info_;
  const PacedOptions options_;
  std::function<void(const engine::StepOutput&)> sink_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<uint64_t, Sequence> sequences_;
  std::vector<uint64_t> cancelled_;
  bool arrived_ = false;
  bool stop_ = false;
  std::atomic<uint64_t> steps_{0};
  std::thread thread_;
};

}  // namespace weft::bench
