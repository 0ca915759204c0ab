// The parts of a generation that its sources share: a choice, and what a sequence's events go
// through.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "services/gateway/generation.h"

namespace weft::gateway {

struct Generation::Choice {
  Choice(const ScanSettings& scan, scan::TextKind kind, OutputGate::Mode mode)
      : gate(scan.policy, kind, mode) {}
  uint32_t index = 0;
  OutputGate gate;
  SchedulerClient::Ticket ticket = 0;
  ScannerClient::Stream stream = 0;
  std::optional<SteadyTime> waiting_since;  // for a verdict
  uint32_t tokens = 0;
  uint32_t prompt_tokens = 0;
  uint32_t cached_prompt_tokens = 0;
  bool prompt_truncated = false;
  std::chrono::milliseconds prompt_time{0};
  std::chrono::milliseconds output_time{0};
  bool finished = false;  // by the scheduler; text may still be held
  bool scan_closed = false;
  v1::FinishReason reason = v1::FINISH_REASON_UNSPECIFIED;
  std::string stop_string;
  bool over = false;
};

// The generation as one of its sequences sees it.
class Generation::Sequence final : public SequenceSink, public ScanSink {
 public:
  Sequence(std::shared_ptr<Generation> generation, uint32_t choice)
      : generation_(std::move(generation)), choice_(choice) {}
  void OnAccepted(const v1::Accepted& accepted) override {
    generation_->OnAccepted(choice_, accepted);
  }
  void OnPromptLogprobs(std::span<const v1::TokenLogprob* const> entries) override {
    generation_->OnPromptLogprobs(choice_, entries);
  }
  void OnDelta(const Delta& delta) override { generation_->OnDelta(choice_, delta); }
  void OnFinished(const v1::Finished& finished) override {
    generation_->OnFinished(choice_, finished);
  }
  void OnVerdict(uint64_t clear, std::vector<scan::Finding> findings, bool closed) override {
    generation_->OnVerdict(choice_, clear, std::move(findings), closed);
  }
  void OnScanFailed(const absl::Status& status) override {
    generation_->OnScanFailed(choice_, status);
  }

 private:
  const std::shared_ptr<Generation> generation_;
  const uint32_t choice_;
};

}  // namespace weft::gateway
