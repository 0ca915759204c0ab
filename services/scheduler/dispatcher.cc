// Requests in, deltas out. Queues to workers: dispatch.cc. Workers' answers and losses:
// failover.cc.
#include "services/scheduler/dispatcher.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "libs/base/ids.h"
#include "libs/base/status.h"

namespace weft::scheduler {
namespace {

// google.rpc.Code numbers.
constexpr int kInvalidArgument = 3;
constexpr int kDeadlineExceeded = 4;
constexpr int kNotFound = 5;
constexpr int kResourceExhausted = 8;
constexpr int kUnavailable = 14;

// FNV-1a: what the worker gets instead of the tenant's name.
uint64_t ShareKey(std::string_view tenant) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : tenant) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ULL;
  return hash;
}

std::string Unserved(const v1::Submit& submit) {
  const v1::Resume& resume = submit.resume();
  if (resume.output_ids().empty() || resume.model_version().empty()) {
    return fmt::format("no worker serves model {} now", submit.model());
  }
  return fmt::format("no worker serves version {} of model {} now, with which the output began",
                     resume.model_version(), submit.model());
}

uint32_t SaturatedMs(std::chrono::nanoseconds d) {
  const int64_t ms = std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
  return static_cast<uint32_t>(std::clamp<int64_t>(ms, 0, UINT32_MAX));
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

void Dispatcher::Admit(uint64_t session_id, v1::Submit submit) {
  Session& session = sessions_.at(session_id);
  if (session.requests.contains(submit.handle()) || session.outgoing.contains(submit.handle())) {
    session.closing = true;
    ports_.gateways->Close(session_id, kInvalidArgument,
                           fmt::format("handle: {} is in use", submit.handle()));
    return;
  }
  if (draining_) {
    return Refuse(session, submit,
                  MakeRetryError(kUnavailable, "the scheduler is shutting down", 1000));
  }
  if (auto error = ValidateSubmit(submit, options_.limits)) {
    return Refuse(session, submit, *std::move(error));
  }
  if (!models_.contains(submit.model()) && !links_.empty()) {
    return Refuse(
        session, submit,
        MakeError(kNotFound, fmt::format("model: {} is not known", submit.model()), "model"));
  }
  if (waiting_ >= options_.queue_capacity) {
    return Refuse(session, submit,
                  MakeRetryError(kResourceExhausted,
                                 fmt::format("the queue is full ({} requests wait)", waiting_),
                                 RetryAfterMs()));
  }
  auto owned = std::make_unique<Request>();
  Request& request = *owned;
  request.id = next_request_++;
  request.session = session_id;
  request.handle = submit.handle();
  request.share_key = ShareKey(submit.share_key());
  request.weight = submit.weight() > 0 ? static_cast<double>(submit.weight()) : 1.0;
  request.arrived = now_;
  request.waiting_since = now_;
  auto timeout = options_.default_timeout;
  if (submit.has_timeout()) {
    // Saturates: a duration of centuries must not overflow.
    const int64_t seconds = std::min<int64_t>(submit.timeout().seconds(), 1'000'000'000);
    timeout =
        std::min(options_.max_timeout,
                 std::chrono::milliseconds(seconds * 1000 + submit.timeout().nanos() / 1'000'000));
  }
  request.deadline = now_ + timeout;
  deadlines_.emplace(*request.deadline, request.id);
  request.trace = ports_.observer->BeginRequest(submit);
  request.submit = std::make_shared<const v1::Submit>(std::move(submit));
  session.requests.emplace(request.handle, &request);
  requests_.emplace(request.id, std::move(owned));
  ++waiting_;
  PrepareOrPark(request);
}

void Dispatcher::Refuse(Session& session, const v1::Submit& submit, v1::RequestError error) {
  RequestSummary summary;
  summary.request_id = submit.request_id();
  summary.model = submit.model();
  summary.reason = v1::FINISH_REASON_ERROR;
  summary.error = &error;
  const auto trace = ports_.observer->BeginRequest(submit);
  summary.trace = trace.get();
  ports_.observer->RequestFinished(summary);
  session.order.push_back(submit.handle());
  v1::Finished& finished = session.outgoing[submit.handle()].finished.emplace();
  finished.set_handle(submit.handle());
  finished.set_reason(v1::FINISH_REASON_ERROR);
  *finished.mutable_error() = std::move(error);
}

void Dispatcher::SetState(Request& request, RequestState state) {
  const bool waited = request.state != RequestState::kRunning;
  const bool waits = state != RequestState::kRunning;
  if (waited && !waits) --waiting_;
  if (!waited && waits) ++waiting_;
  request.state = state;
}

// The version that the request must run on; null when no worker has it now.
const v1::ModelInfo* Dispatcher::InfoFor(const Model& model, const v1::Submit& submit) const {
  const v1::Resume& resume = submit.resume();
  if (resume.output_ids().empty() || resume.model_version().empty() ||
      resume.model_version() == model.info.version()) {
    return &model.info;
  }
  for (const auto& [id, link] : links_) {
    const auto it = link.models.find(model.id);
    if (it != link.models.end() && it->second.info.version() == resume.model_version()) {
      return &it->second.info;
    }
  }
  return nullptr;
}

void Dispatcher::PrepareOrPark(Request& request) {
  const auto it = models_.find(request.submit->model());
  if (it == models_.end() && !links_.empty()) {
    return Fail(request,
                MakeError(kNotFound, fmt::format("model: {} is not known", request.submit->model()),
                          "model"));
  }
  const v1::ModelInfo* info = it == models_.end() ? nullptr : InfoFor(*it->second, *request.submit);
  if (info == nullptr || !ports_.preparer->HasTokenizer(*info)) {
    SetState(request, RequestState::kParked);
    parked_.push_back(request.id);
    return;
  }
  request.model = it->second.get();
  request.info = *info;
  SetState(request, RequestState::kPreparing);
  if (!ports_.preparer->Prepare(request.id, request.submit, request.info)) {
    Fail(request, MakeRetryError(kResourceExhausted, "too many prompts are being tokenised",
                                 RetryAfterMs()));
  }
}

void Dispatcher::OnTokenizer(const std::string&) {
  now_ = clock_.Now();
  std::deque<uint64_t> parked;
  parked.swap(parked_);
  for (const uint64_t id : parked) {
    const auto it = requests_.find(id);
    if (it != requests_.end()) PrepareOrPark(*it->second);
  }
}

void Dispatcher::OnPrepared(uint64_t id, Prepared prepared) {
  now_ = clock_.Now();
  const auto it = requests_.find(id);
  if (it == requests_.end()) return;  // cancelled or too late
  Request& request = *it->second;
  const v1::Submit& submit = *request.submit;
  const v1::ModelInfo& info = request.info;
  if (prepared.error) return Fail(request, *std::move(prepared.error));
  if (auto error = ValidateForModel(submit, info, prepared.prompt_ids.size())) {
    return Fail(request, *std::move(error));
  }
  request.prompt_ids = std::move(prepared.prompt_ids);
  request.truncated = prepared.truncated;
  request.prefix = std::move(prepared.prefix);
  request.text = std::move(prepared.text);
  request.assembler = std::make_unique<TextAssembler>(
      request.text->NewDetokenizer(),
      std::vector<std::string>(submit.stop().begin(), submit.stop().end()));
  request.sampling = submit.sampling();
  request.sampling.mutable_stop_token_ids()->Add(prepared.stop_ids.begin(),
                                                 prepared.stop_ids.end());
  if (!request.sampling.has_seed()) {
    request.sampling.set_seed(submit.has_resume() ? submit.resume().seed() : RandomU64());
  }
  const uint32_t room = info.context_length() - static_cast<uint32_t>(request.prompt_ids.size());
  request.sampling.set_max_tokens(std::min(request.sampling.max_tokens(), room));
  request.sampling.set_min_tokens(
      std::min(request.sampling.min_tokens(), request.sampling.max_tokens()));

  TellAccepted(request);
  if (request.sampling.prompt_logprobs()) {
    // The first token follows nothing.
    v1::PromptLogprobs& scored = Out(request.session, request.handle).prompt_logprobs;
    v1::TokenLogprob& first = *scored.add_tokens();
    first.set_token_id(request.prompt_ids.front());
    first.set_text(std::string(request.text->Bytes(request.prompt_ids.front())));
    first.set_logprob(std::numeric_limits<float>::quiet_NaN());
  }

  if (submit.has_resume()) {
    const auto& ids = submit.resume().output_ids();
    std::vector<uint32_t> tokens(ids.begin(), ids.end());
    const absl::Status restored =
        request.assembler->Restore(tokens, submit.resume().text_bytes_delivered());
    if (!restored.ok()) {
      return Fail(request, MakeError(kInvalidArgument, std::string(Message(restored)), "resume"));
    }
    request.log = TokenLog(std::move(tokens));
    if (request.assembler->stopped()) {
      Deliver(request);
      return Finish(request, v1::FINISH_REASON_STOP, nullptr);
    }
    if (request.log.size() > 0 && request.log.size() >= request.sampling.max_tokens()) {
      request.assembler->Finish();
      Deliver(request);
      return Finish(request, v1::FINISH_REASON_LENGTH, nullptr);
    }
    // It was interrupted, as one whose worker was lost.
    if (request.log.size() > 0) return PlaceAgain(request);
  }
  Enqueue(request);
}

void Dispatcher::TellAccepted(Request& request) {
  v1::Accepted& accepted = Out(request.session, request.handle).accepted.emplace();
  accepted.set_handle(request.handle);
  accepted.mutable_prompt_ids()->Add(request.prompt_ids.begin(), request.prompt_ids.end());
  accepted.set_seed(request.sampling.seed());
  accepted.set_model_version(request.info.version());
  accepted.set_truncated(request.truncated);
  if (!request.submit->want_prompt_text()) return;
  const std::unique_ptr<Detokenizer> text = request.text->NewDetokenizer();
  for (const uint32_t id : request.prompt_ids) *accepted.mutable_prompt_text() += text->Append(id);
  *accepted.mutable_prompt_text() += text->Flush();
}

void Dispatcher::Enqueue(Request& request) {
  batching::FairEntry entry;
  entry.id = request.id;
  entry.share_key = request.share_key;
  entry.weight = request.weight;
  entry.priority = request.submit->priority();
  entry.cost = static_cast<double>(request.prompt_ids.size());
  SetState(request, RequestState::kQueued);
  if (const absl::Status pushed = request.model->queue.Push(entry); !pushed.ok()) {
    SetState(request, RequestState::kPreparing);
    return Fail(request,
                MakeRetryError(kResourceExhausted, std::string(Message(pushed)), RetryAfterMs()));
  }
  if (!request.model->gathering_since) request.model->gathering_since = now_;
}

void Dispatcher::Cancel(Session& session, uint32_t handle) {
  const auto it = session.requests.find(handle);
  if (it == session.requests.end()) return;  // over already
  Request& request = *it->second;
  StopOnWorker(request);
  Finish(request, v1::FINISH_REASON_CANCELLED, nullptr);
}

// ---- What goes to gateways ----

Dispatcher::Outgoing& Dispatcher::Out(uint64_t session_id, uint32_t handle) {
  Session& session = sessions_.at(session_id);
  const auto [it, inserted] = session.outgoing.try_emplace(handle);
  if (inserted) session.order.push_back(handle);
  return it->second;
}

void Dispatcher::Deliver(Request& request) {
  request.assembler->Take(&Out(request.session, request.handle).delta);
}

void Dispatcher::Fail(Request& request, v1::RequestError error) {
  StopOnWorker(request);
  Finish(request, v1::FINISH_REASON_ERROR, &error);
}

// The request is gone afterwards.
void Dispatcher::Finish(Request& request, v1::FinishReason reason, const v1::RequestError* error) {
  WEFT_CHECK(request.link == 0);
  RequestSummary summary;
  summary.request_id = request.submit->request_id();
  summary.model = request.submit->model();
  summary.reason = reason;
  summary.error = error;
  summary.prompt_tokens = static_cast<uint32_t>(request.prompt_ids.size());
  summary.completion_tokens = request.assembler ? request.assembler->tokens_taken() : 0;
  summary.cached_prompt_tokens = request.cached_prompt_tokens;
  summary.attempts = request.attempts;
  if (request.state != RequestState::kRunning) request.queued += now_ - request.waiting_since;
  summary.queued = request.queued;
  if (request.first_token) summary.first_token = *request.first_token - request.arrived;
  summary.total = now_ - request.arrived;
  summary.trace = request.trace.get();
  ports_.observer->RequestFinished(summary);

  Session& session = sessions_.at(request.session);
  if (!session.closing) {
    v1::Finished& finished = Out(request.session, request.handle).finished.emplace();
    finished.set_handle(request.handle);
    finished.set_reason(reason);
    finished.mutable_usage()->set_prompt_tokens(summary.prompt_tokens);
    finished.mutable_usage()->set_completion_tokens(summary.completion_tokens);
    finished.mutable_usage()->set_cached_prompt_tokens(summary.cached_prompt_tokens);
    if (error != nullptr) *finished.mutable_error() = *error;
    if (reason == v1::FINISH_REASON_STOP) {
      finished.set_stop_string(std::string(request.assembler->stop_string()));
    }
    finished.set_queue_ms(SaturatedMs(summary.queued));
    finished.set_first_token_ms(summary.first_token ? SaturatedMs(*summary.first_token) : 0);
    finished.set_total_ms(SaturatedMs(summary.total));
    finished.set_attempts(request.attempts);
  }
  session.requests.erase(request.handle);
  RemoveFromQueue(request);
  if (request.state != RequestState::kRunning) --waiting_;
  deadlines_.erase({*request.deadline, request.id});
  requests_.erase(request.id);
}

void Dispatcher::FlushGateway(uint64_t id, Session& session) {
  if (!session.writable || session.closing || !session.hello) return;
  if (session.order.empty() && !session.tell_draining) return;
  v1::DeltaFrame frame;
  frame.set_draining(session.tell_draining);
  session.tell_draining = false;
  size_t bytes = 0;
  while (!session.order.empty() && bytes < options_.max_frame_bytes) {
    const uint32_t handle = session.order.front();
    session.order.pop_front();
    auto node = session.outgoing.extract(handle);
    Outgoing& out = node.mapped();
    if (out.accepted) {
      bytes += static_cast<size_t>(out.accepted->prompt_ids_size()) * 3;
      *frame.add_accepted() = *std::move(out.accepted);
    }
    if (out.prompt_logprobs.tokens_size() > 0) {
      out.prompt_logprobs.set_handle(handle);
      bytes += out.prompt_logprobs.ByteSizeLong();
      *frame.add_prompt_logprobs() = std::move(out.prompt_logprobs);
    }
    TextDelta& delta = out.delta;
    if (!delta.empty()) {
      frame.add_handles(handle);
      frame.add_token_counts(static_cast<uint32_t>(delta.tokens.size()));
      frame.mutable_token_ids()->Add(delta.tokens.begin(), delta.tokens.end());
      frame.add_first_indexes(delta.first_index);
      frame.add_byte_offsets(delta.byte_offset);
      frame.add_text_lengths(static_cast<uint32_t>(delta.text.size()));
      frame.mutable_text()->append(delta.text);
      bytes += delta.text.size() + delta.tokens.size() * 3 + 16;
      if (!delta.logprobs.empty()) {
        v1::SequenceLogprobs& logprobs = *frame.add_logprobs();
        logprobs.set_handle(handle);
        for (v1::TokenLogprob& l : delta.logprobs) {
          bytes += 24 + static_cast<size_t>(l.top_ids_size()) * 16;
          *logprobs.add_tokens() = std::move(l);
        }
      }
    }
    if (out.finished) *frame.add_finished() = *std::move(out.finished);
  }
  session.writable = false;
  session.blocked_since = now_;
  ports_.gateways->Write(id, std::move(frame));
}

bool Dispatcher::HasOutput() const {
  return std::any_of(sessions_.begin(), sessions_.end(),
                     [](const auto& s) { return !s.second.closing && !s.second.order.empty(); });
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
                                        SaturatedMs(now_ - request.arrived)),
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
