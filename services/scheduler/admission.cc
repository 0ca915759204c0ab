// A request on its way into its queue: checked, given a tokenizer, tokenised.
#include <algorithm>
#include <limits>
#include <utility>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "services/scheduler/dispatcher.h"
#include "services/scheduler/rpc_code.h"

namespace weft::scheduler {
namespace {

// FNV-1a: what the worker gets instead of the tenant's name.
uint64_t ShareKey(std::string_view tenant) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : tenant) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ULL;
  return hash;
}

}  // namespace

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

}  // namespace weft::scheduler
