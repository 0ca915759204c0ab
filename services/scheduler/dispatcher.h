// The scheduler's brain: admission, queues, routing, token logs, failover. A state machine without
// threads, sockets or sleeping: events go in, frames go out through the ports.
//
//   gateway session ──Submit──► parked/preparing ──► fair queue ──► worker ──rows──► deltas ──►
//                                                       ▲              │ lost
//                                                       └── again ◄────┤
//                                                           suspect ◄──┘ (second loss)
//
// One thread owns it (event_loop.h) and makes every call.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "services/scheduler/ports.h"
#include "services/scheduler/request.h"
#include "services/scheduler/validate.h"
#include "services/scheduler/worker_state.h"

namespace weft::scheduler {

struct DispatcherOptions {
  // Requirement 000's batching knobs. A worker that has fewer than max_batch_size sequences without
  // a first token takes a request at once. While all have so many, requests gather: they go out
  // together when one has room, when max_batch_size wait, or when the first has waited max_wait. So
  // a burst slows running streams by a few joint prefills, and a worker with room never waits.
  uint32_t max_batch_size = 8;
  std::chrono::milliseconds max_wait{50};

  // Of a worker's sequences and KV blocks, for tenants that have less than an even part of it: a
  // tenant that floods leaves so much free, and another one's request finds room at once.
  uint32_t reserve_percent = 10;

  uint32_t queue_capacity = 1024;  // requests that do not run yet, all models
  uint32_t queue_capacity_per_tenant = 1024;
  std::chrono::milliseconds default_timeout{600'000};
  std::chrono::milliseconds max_timeout{3'600'000};
  // How long requests wait while no worker serves their model.
  std::chrono::milliseconds no_worker_timeout{10'000};
  // A worker that sends nothing for so long is lost (it sends statistics every second) …
  std::chrono::milliseconds silent_timeout{5'000};
  // … and one whose engine has work but runs no layer for so long.
  std::chrono::milliseconds stall_timeout{15'000};
  // A gateway that reads nothing for so long while there is something for it.
  std::chrono::milliseconds slow_gateway_timeout{30'000};
  // Tokens being prefilled again on one worker for sequences lost elsewhere.
  int64_t redispatch_tokens = 8192;
  uint32_t suspect_losses = 2;  // a request present at so many losses runs alone
  uint32_t max_attempts = 8;    // dispatches of one request, whatever the reason
  size_t max_frame_bytes = 1u << 20;
  SubmitLimits limits;
};

class Dispatcher {
 public:
  // All must outlive the dispatcher.
  struct Ports {
    GatewayPort* gateways;
    WorkerPort* workers;
    Preparer* preparer;
    Observer* observer;
  };
  Dispatcher(const DispatcherOptions& options, const Ports& ports, const Clock& clock);
  ~Dispatcher();

  // ---- Gateways ----
  void OnGatewayOpen(uint64_t session);
  void OnGatewayFrame(uint64_t session, v1::GatewayFrame frame);
  void OnGatewayWritable(uint64_t session);
  void OnGatewayClosed(uint64_t session);

  // ---- Workers ----
  // `link` is new with every session.
  void OnWorkerWelcome(uint64_t link, const v1::WorkerWelcome& welcome);
  void OnStepFrame(uint64_t link, v1::StepFrame frame);
  void OnWorkerWritable(uint64_t link);
  void OnWorkerLost(uint64_t link, LossReason reason, std::string_view detail);

  // ---- The preparer ----
  void OnPrepared(uint64_t request, Prepared prepared);
  void OnTokenizer(const std::string& sha256);  // HasTokenizer may be true now

  // To be called after each batch of events: times, dispatching, and one frame for each session
  // that has something to send.
  void Pump();
  // When Pump must be called again at the latest, if nothing else happens.
  SteadyTime NextWake() const;

  // No new requests; tells the gateways. Those that are here go on.
  void BeginDrain();
  // Forgets what is left: when their sessions end, gateways go on with these requests on another
  // scheduler, or here when it is back.
  void HandOver();
  bool idle() const { return requests_.empty() && !HasOutput(); }
  bool draining() const { return draining_; }
  // Something waits to be written to a gateway.
  bool HasOutput() const;

  // Models that a worker serves now.
  std::vector<v1::ModelInfo> Models() const;
  bool HasWorker() const;
  size_t waiting() const { return waiting_; }

 private:
  struct Outgoing {
    std::optional<v1::Accepted> accepted;
    v1::PromptLogprobs prompt_logprobs;
    TextDelta delta;
    std::optional<v1::Finished> finished;
  };
  struct Session {
    std::unordered_map<uint32_t, Request*> requests;
    std::unordered_map<uint32_t, Outgoing> outgoing;
    std::deque<uint32_t> order;  // of outgoing
    bool hello = false;
    bool writable = true;
    bool tell_draining = false;
    bool closing = false;
    std::optional<SteadyTime> blocked_since;
  };

  // dispatcher.cc
  void SetState(Request& request, RequestState state);
  void Expire();
  int64_t RetryAfterMs() const;
  void CheckGateways();

  // admission.cc: requests in
  void Admit(uint64_t session, v1::Submit submit);
  void Refuse(Session& session, const v1::Submit& submit, v1::RequestError error);
  const v1::ModelInfo* InfoFor(const Model& model, const v1::Submit& submit) const;
  void PrepareOrPark(Request& request);
  void TellAccepted(Request& request);
  void Enqueue(Request& request);
  void Cancel(Session& session, uint32_t handle);

  // delivery.cc: deltas out
  Outgoing& Out(uint64_t session, uint32_t handle);
  void Deliver(Request& request);
  void Fail(Request& request, v1::RequestError error);
  void Finish(Request& request, v1::FinishReason reason, const v1::RequestError* error);
  void FlushGateway(uint64_t id, Session& session);

  // dispatch.cc: queues to workers
  void Dispatch(Model& model);
  void DispatchQueued(Model& model);
  void DispatchSuspects(Model& model);
  void DispatchTo(Request& request, WorkerLink& link);
  bool IsServed(const Request& request) const;
  bool FailReplaced(Request& request, std::chrono::nanoseconds patience);
  static bool Serves(const WorkerLink& link, const Request& request);
  // nullptr: no worker has room. Given `held_back`, the tenant's part counts: true when only that
  // stands in the way.
  WorkerLink* Route(const Request& request, bool* held_back = nullptr);
  bool HasItsPart(const Request& request, const LinkModel& model) const;
  static size_t SharedWithSiblings(const Request& request, const WorkerLink& link);
  bool GatherMore(Model& model);
  bool HasIdleWorker(const Model& model) const;
  uint64_t BlocksNeeded(const Request& request, const WorkerLink& link) const;
  void RemoveFromQueue(Request& request);
  void FlushWorker(WorkerLink& link);

  // step_frames.cc: rows in
  bool ApplyRows(WorkerLink& link, v1::StepFrame& frame, std::string* why);
  bool ApplyPromptLogprobs(WorkerLink& link, v1::RowPromptLogprobs& row, std::string* why);
  void ApplyFinish(WorkerLink& link, const v1::RowFinish& finish);

  // failover.cc: workers lost
  void ReleaseAssignment(WorkerLink& link, uint32_t handle);
  void StopOnWorker(Request& request);
  void PlaceAgain(Request& request);
  void Lose(uint64_t link, LossReason reason, std::string_view detail);
  // False when the request failed instead.
  bool RunAgain(Request& request, bool loss, bool was_alone);
  void CheckLiveness();
  void Acquit(WorkerLink& link);
  void NoteStandstill(const WorkerLink& link, const LinkModel& model);
  void CheckStandstill(const WorkerLink& link, LinkModel& model);

  const DispatcherOptions options_;
  const Ports ports_;
  const Clock& clock_;
  SteadyTime now_;

  uint64_t next_request_ = 1;
  std::unordered_map<uint64_t, std::unique_ptr<Request>> requests_;
  std::map<uint64_t, Session> sessions_;
  std::map<uint64_t, WorkerLink> links_;
  std::map<std::string, std::unique_ptr<Model>, std::less<>> models_;
  std::deque<uint64_t> parked_;  // request ids
  std::set<std::pair<SteadyTime, uint64_t>> deadlines_;
  std::map<std::pair<std::string, std::string>, Standstill> standstills_;  // worker id, model id
  size_t waiting_ = 0;  // requests that do not run
  std::optional<SteadyTime> without_worker_since_;
  double queue_ms_average_ = 0;
  bool draining_ = false;
};

}  // namespace weft::scheduler
