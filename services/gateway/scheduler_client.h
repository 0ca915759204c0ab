// The gateway's side of the sessions with its schedulers: every request of the gateway travels in
// one stream per scheduler. A sequence whose scheduler goes away continues on another one (or on
// the same one when it is back), exactly where it was: its prompt ids, seed and output ids are kept
// here.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/clock.h"
#include "libs/rpc/channel.h"
#include "weft/v1/scheduler.pb.h"

namespace weft::gateway {

// New output of one sequence. Views live as long as the call.
struct Delta {
  std::string_view text;  // whole UTF-8 characters
  std::span<const uint32_t> token_ids;
  std::span<const v1::TokenLogprob* const> logprobs;  // empty, or one per token
};

// Called without locks of the client, in order, never twice at once for one sequence; must not
// block.
class SequenceSink {
 public:
  virtual ~SequenceSink() = default;
  virtual void OnAccepted(const v1::Accepted& accepted) = 0;  // at most once
  // Log probabilities of the prompt's tokens, in order, each once; that of the first is not a
  // number. Views live as long as the call.
  virtual void OnPromptLogprobs(std::span<const v1::TokenLogprob* const> entries) = 0;
  virtual void OnDelta(const Delta& delta) = 0;
  // Last. A reason of ERROR carries an error.
  virtual void OnFinished(const v1::Finished& finished) = 0;
};

struct SchedulerClientOptions {
  std::vector<rpc::ChannelOptions> schedulers;
  std::string gateway_id;
  // How long a sequence waits for a scheduler before UNAVAILABLE.
  std::chrono::milliseconds wait{5'000};
  // How often one sequence may move to another scheduler.
  int max_moves = 4;
};

// Thread safe; nothing blocks except the destructor.
class SchedulerClient {
 public:
  static absl::StatusOr<std::unique_ptr<SchedulerClient>> Create(
      const SchedulerClientOptions& options, Clock& clock = Clock::Real());
  // Sequences that are still open get no further call.
  virtual ~SchedulerClient() = default;

  using Ticket = uint64_t;
  // handle and resume of `submit` are overwritten. The sink may be called before this returns.
  virtual Ticket Submit(v1::Submit submit, std::shared_ptr<SequenceSink> sink) = 0;
  // The sequence ends: its sink is not called again once the calls that run now are over. Unknown
  // tickets are ignored.
  virtual void Cancel(Ticket ticket) = 0;

  virtual void Tokenize(v1::TokenizeRequest request,
                        std::function<void(absl::StatusOr<v1::TokenizeResponse>)> done) = 0;
  // What the schedulers served at the last look (every second and after each connection).
  virtual std::vector<v1::ModelInfo> Models() const = 0;
  virtual bool connected() const = 0;  // to at least one scheduler

  struct Stats {
    uint64_t resumed = 0;  // sequences that went on after their scheduler was lost
    uint64_t lost = 0;     // sequences that could not
    size_t open = 0;
    size_t links_open = 0;
  };
  virtual Stats stats() const = 0;

  // Ends waits that took too long; looks for models. To be called several times a second.
  virtual void Tick() = 0;
};

}  // namespace weft::gateway
