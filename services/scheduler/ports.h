// What the dispatcher needs from the world around it. The server implements these over gRPC, a
// thread pool and telemetry; tests by hand.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/clock.h"
#include "libs/kv/prefix_key.h"
#include "services/scheduler/token_text.h"
#include "weft/v1/scheduler.pb.h"
#include "weft/v1/worker.pb.h"

namespace weft::scheduler {

// All methods are called on the dispatcher's thread and must not block or call back into it.
class GatewayPort {
 public:
  virtual ~GatewayPort() = default;
  // Called only while the session is writable; it is then not writable until
  // Dispatcher::OnGatewayWritable.
  virtual void Write(uint64_t session, v1::DeltaFrame frame) = 0;
  // Ends the session with this google.rpc.Code. OnGatewayClosed follows, perhaps later.
  virtual void Close(uint64_t session, int code, std::string message) = 0;
};

class WorkerPort {
 public:
  virtual ~WorkerPort() = default;
  // As GatewayPort::Write.
  virtual void Write(uint64_t link, v1::WorkFrame frame) = 0;
  // Gives the session up. What may still come from it is ignored.
  virtual void Break(uint64_t link, std::string_view why) = 0;
};

// Rendered and tokenised.
struct Prepared {
  std::optional<v1::RequestError> error;
  std::vector<uint32_t> prompt_ids;
  std::vector<kv::PrefixKey> prefix;  // of prompt_ids
  std::vector<uint32_t> stop_ids;     // end the output besides those that the request names
  bool truncated = false;             // not all of the input is in prompt_ids
  std::shared_ptr<const TokenText> text;
};

class Preparer {
 public:
  virtual ~Preparer() = default;
  // False when the model's tokenizer is not there yet.
  virtual bool HasTokenizer(const v1::ModelInfo& model) const = 0;
  // Tokenises on other threads; Dispatcher::OnPrepared(request, …) follows, later. False when too
  // much waits already. `submit` is shared with the dispatcher and is not changed.
  virtual bool Prepare(uint64_t request, std::shared_ptr<const v1::Submit> submit,
                       const v1::ModelInfo& model) = 0;
};

// The trace of one request. Destroyed when the request is over.
class RequestTrace {
 public:
  virtual ~RequestTrace() = default;
  // The parent that the worker's spans get; empty when not traced.
  virtual std::string Traceparent() const = 0;
  virtual void Queued(SteadyTime from, SteadyTime to, uint32_t attempt) = 0;
};

struct RequestSummary {
  std::string_view request_id;
  std::string_view model;
  v1::FinishReason reason = v1::FINISH_REASON_UNSPECIFIED;
  const v1::RequestError* error = nullptr;  // with FINISH_REASON_ERROR
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  uint32_t cached_prompt_tokens = 0;
  uint32_t attempts = 0;
  std::chrono::nanoseconds queued{0};
  std::optional<std::chrono::nanoseconds> first_token;  // from arrival
  std::chrono::nanoseconds total{0};
  RequestTrace* trace = nullptr;
};

enum class LossReason { kBroken, kSilent, kStalled, kProtocol, kDrained };
std::string_view LossReasonName(LossReason reason);

// Metrics, logs and spans.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual std::unique_ptr<RequestTrace> BeginRequest(const v1::Submit& submit) = 0;  // may be null
  virtual void RequestFinished(const RequestSummary& summary) = 0;
  virtual void WorkerReady(std::string_view worker, const v1::WorkerWelcome& welcome) = 0;
  virtual void WorkerLost(std::string_view worker, LossReason reason, std::string_view detail,
                          size_t moved) = 0;
  virtual void Redispatched(std::string_view request_id, uint32_t attempt, size_t tokens,
                            bool same_numerics) = 0;
  virtual void SuspectRunsAlone(std::string_view request_id) = 0;
  virtual void StaleRows(size_t rows) = 0;
  struct Gauges {
    size_t queued = 0;   // waiting for a worker
    size_t running = 0;  // on a worker
    size_t workers = 0;  // ready
    size_t gateways = 0;
  };
  virtual void SetGauges(const Gauges& gauges) = 0;
};

}  // namespace weft::scheduler
