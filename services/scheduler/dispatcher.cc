// Sessions with gateways, time and drain. A request's way: admission.cc into its queue, dispatch.cc
// to a worker, step_frames.cc back, delivery.cc to the gateway; failover.cc when a worker is lost.
#include "services/scheduler/dispatcher.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "services/scheduler/rpc_code.h"

namespace weft::scheduler {
namespace {

std::string Unserved(const v1::Submit& submit) {
  const v1::Resume& resume = submit.resume();
  if (resume.output_ids().empty() || resume.model_version().empty()) {
    return fmt::format("no worker serves model {} now", submit.model());
  }
  return fmt::format("no worker serves version {} of model {} now, with which the output began",
                     resume.model_version(), submit.model());
}

}  // namespace

std::string_view LossReasonName(LossReason reason) {
  switch (reason) {
    case LossReason::kBroken:
      return "broken";
    case LossReason::kSilent:
      return "silent";
    case LossReason::kStalled:
      return "stalled";
    case LossReason::kProtocol:
      return "protocol";
    case LossReason::kDrained:
      return "drained";
  }
  return "unknown";
}

Dispatcher::Dispatcher(const DispatcherOptions& options, const Ports& ports, const Clock& clock)
    : options_(options), ports_(ports), clock_(clock), now_(clock.Now()) {}

Dispatcher::~Dispatcher() = default;

// ---- Gateways ----

void Dispatcher::OnGatewayOpen(uint64_t session) { sessions_[session].tell_draining = draining_; }

void Dispatcher::OnGatewayFrame(uint64_t id, v1::GatewayFrame frame) {
  now_ = clock_.Now();
  const auto it = sessions_.find(id);
  if (it == sessions_.end() || it->second.closing) return;
  it->second.hello = true;
  for (v1::Submit& submit : *frame.mutable_submits()) {
    Admit(id, std::move(submit));
    if (it->second.closing) return;
  }
  for (const uint32_t handle : frame.cancels()) Cancel(it->second, handle);
}

void Dispatcher::OnGatewayWritable(uint64_t id) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  it->second.writable = true;
  it->second.blocked_since.reset();
}

void Dispatcher::OnGatewayClosed(uint64_t id) {
  now_ = clock_.Now();
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  it->second.closing = true;
  while (!it->second.requests.empty()) {
    Request& request = *it->second.requests.begin()->second;
    StopOnWorker(request);
    Finish(request, v1::FINISH_REASON_CANCELLED, nullptr);
  }
  sessions_.erase(it);
}

void Dispatcher::SetState(Request& request, RequestState state) {
  const bool waited = request.state != RequestState::kRunning;
  const bool waits = state != RequestState::kRunning;
  if (waited && !waits) --waiting_;
  if (!waited && waits) ++waiting_;
  request.state = state;
}

// ---- Time ----

int64_t Dispatcher::RetryAfterMs() const {
  return std::clamp<int64_t>(static_cast<int64_t>(queue_ms_average_), 1000, 30'000);
}

void Dispatcher::Expire() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
    Request& request = *requests_.at(deadlines_.begin()->second);
    Fail(request, MakeError(kDeadlineExceeded,
                            fmt::format("the request's time of {} ms is over",
                                        std::chrono::duration_cast<std::chrono::milliseconds>(
                                            now_ - request.arrived)
                                            .count()),
                            "timeout"));
  }
  // Requests that nobody serves.
  std::vector<uint64_t> unserved;
  const auto over = [&](const Request& r, SteadyTime since) {
    return now_ - std::max(r.waiting_since, since) >= options_.no_worker_timeout;
  };
  for (const uint64_t id : parked_) {
    const auto it = requests_.find(id);
    if (it != requests_.end() && over(*it->second, it->second->arrived)) unserved.push_back(id);
  }
  for (const auto& [name, model] : models_) {
    if (!model->without_worker_since) continue;
    const SteadyTime since = *model->without_worker_since;
    if (now_ - since < options_.no_worker_timeout) continue;
    for (const auto& [id, request] : requests_) {
      if (request->model != model.get() || request->state == RequestState::kRunning) continue;
      if (over(*request, since)) unserved.push_back(id);
    }
  }
  for (const uint64_t id : unserved) {
    const auto it = requests_.find(id);
    if (it == requests_.end()) continue;
    Fail(*it->second, MakeRetryError(kUnavailable, Unserved(*it->second->submit), 2000));
  }
  std::erase_if(parked_, [&](uint64_t id) {
    const auto it = requests_.find(id);
    return it == requests_.end() || it->second->state != RequestState::kParked;
  });
}

void Dispatcher::CheckGateways() {
  for (auto& [id, session] : sessions_) {
    if (session.closing || session.writable || !session.blocked_since) continue;
    if (now_ - *session.blocked_since < options_.slow_gateway_timeout) continue;
    session.closing = true;
    ports_.gateways->Close(id, kResourceExhausted, "the gateway does not read its deltas");
  }
}

void Dispatcher::Pump() {
  now_ = clock_.Now();
  CheckLiveness();
  CheckGateways();
  Expire();
  const bool suspects = std::any_of(models_.begin(), models_.end(),
                                    [](const auto& m) { return !m.second->suspects.empty(); });
  if (!suspects) {
    for (auto& [id, link] : links_) link.reserved = false;
  }
  for (const auto& [id, model] : models_) Dispatch(*model);
  for (auto& [id, link] : links_) FlushWorker(link);
  for (auto& [id, session] : sessions_) FlushGateway(id, session);
  Observer::Gauges gauges;
  gauges.queued = waiting_;
  gauges.running = requests_.size() - waiting_;
  gauges.workers = links_.size();
  gauges.gateways = sessions_.size();
  ports_.observer->SetGauges(gauges);
}

SteadyTime Dispatcher::NextWake() const {
  // Liveness and time-outs need no better resolution; deadlines and gathering windows do.
  SteadyTime wake = now_ + std::chrono::milliseconds(100);
  if (!deadlines_.empty()) wake = std::min(wake, deadlines_.begin()->first);
  for (const auto& [id, model] : models_) {
    if (model->gathering_since && !model->window_open) {
      wake = std::min(wake, *model->gathering_since + options_.max_wait);
    }
  }
  return wake;
}

// ---- Drain ----

void Dispatcher::BeginDrain() {
  if (draining_) return;
  draining_ = true;
  for (auto& [id, session] : sessions_) session.tell_draining = true;
}

void Dispatcher::HandOver() {
  now_ = clock_.Now();
  while (!requests_.empty()) {
    Request& request = *requests_.begin()->second;
    Session& session = sessions_.at(request.session);
    StopOnWorker(request);
    const uint32_t handle = request.handle;
    Finish(request, v1::FINISH_REASON_CANCELLED, nullptr);
    // To the gateway it is not over.
    if (const auto out = session.outgoing.find(handle); out != session.outgoing.end()) {
      out->second.finished.reset();
    }
  }
}

std::vector<v1::ModelInfo> Dispatcher::Models() const {
  std::map<std::string, v1::ModelInfo> found;
  for (const auto& [id, link] : links_) {
    if (link.draining) continue;
    for (const auto& [name, model] : link.models) found.try_emplace(name, model.info);
  }
  std::vector<v1::ModelInfo> models;
  for (auto& [name, info] : found) models.push_back(std::move(info));
  return models;
}

bool Dispatcher::HasWorker() const {
  return std::any_of(links_.begin(), links_.end(),
                     [](const auto& l) { return !l.second.draining; });
}

}  // namespace weft::scheduler
