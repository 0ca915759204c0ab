// What goes to gateways: deltas and ends, gathered into a frame each.
#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "services/scheduler/dispatcher.h"

namespace weft::scheduler {
namespace {

uint32_t SaturatedMs(std::chrono::nanoseconds d) {
  const int64_t ms = std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
  return static_cast<uint32_t>(std::clamp<int64_t>(ms, 0, UINT32_MAX));
}

}  // namespace

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

}  // namespace weft::scheduler
