// What comes of a generation's sequences: text through the gate, verdicts, ends.
#include <algorithm>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/gateway/api_error.h"
#include "services/gateway/generation_choice.h"

namespace weft::gateway {
namespace {

const telemetry::Logger kLog("gateway");

absl::Status FromRequestError(const v1::RequestError& error, const GenerationRequest& request,
                              std::span<const std::string> idle_models) {
  auto code = static_cast<absl::StatusCode>(error.code());
  absl::Status status = MakeStatus(code, error.message());
  if (status.ok()) status = Internal("the scheduler gave an error without a code");
  if (code == absl::StatusCode::kNotFound) {
    const std::string& model = request.submit.model();
    if (std::find(idle_models.begin(), idle_models.end(), model) != idle_models.end()) {
      return ModelStarting(model);
    }
    status = ModelNotFound(model);
  }
  if (!error.field().empty()) status = WithField(std::move(status), error.field());
  // Clients look for this code to shorten their prompt.
  if (error.message().find("the context of model") != std::string::npos) {
    status = WithErrorCode(std::move(status), "context_length_exceeded");
  } else if (code == absl::StatusCode::kInvalidArgument) {
    status = WithErrorCode(std::move(status), "invalid_value");
  } else if (code == absl::StatusCode::kResourceExhausted) {
    status = WithErrorCode(std::move(status), "queue_full");
  }
  if (error.has_retry_after()) {
    status = WithRetryAfter(std::move(status),
                            std::chrono::seconds(error.retry_after().seconds()) +
                                std::chrono::ceil<std::chrono::milliseconds>(
                                    std::chrono::nanoseconds(error.retry_after().nanos())));
  }
  return status;
}

std::string_view ReasonName(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_CONTENT_FILTER:
      return "content_filter";
    case v1::FINISH_REASON_CANCELLED:
      return "cancelled";
    default:
      return "error";
  }
}

}  // namespace

void Generation::OnAccepted(uint32_t index, const v1::Accepted& accepted) {
  std::lock_guard lock(mutex_);
  if (over_) return;
  model_version_ = accepted.model_version();
  choices_[index]->prompt_tokens = static_cast<uint32_t>(accepted.prompt_ids_size());
  choices_[index]->prompt_truncated = accepted.truncated();
  TellProgressLocked();
  BeginLocked();
  if (request_.submit.want_prompt_text()) sink_->OnPromptText(index, accepted.prompt_text());
}

void Generation::OnPromptLogprobs(uint32_t index,
                                  std::span<const v1::TokenLogprob* const> entries) {
  std::lock_guard lock(mutex_);
  if (over_ || choices_[index]->over) return;
  BeginLocked();
  sink_->OnPromptLogprobs(index, entries);
}

void Generation::BeginLocked() {
  if (std::exchange(begun_, true)) return;
  sink_->OnBegin(TotalsLocked());
}

void Generation::OnDelta(uint32_t index, const Delta& delta) {
  std::lock_guard lock(mutex_);
  Choice& choice = *choices_[index];
  if (over_ || choice.over) return;
  BeginLocked();
  choice.tokens += static_cast<uint32_t>(delta.token_ids.size());
  TellProgressLocked();
  if (!delta.text.empty() && !std::exchange(first_text_, true)) {
    deps_.metrics->time_to_first_token.With({request_.submit.model()})
        .Observe(Seconds(deps_.clock->Now() - arrived_));
  }
  OutputGate::Piece piece;
  piece.text = delta.text;
  piece.token_ids.assign(delta.token_ids.begin(), delta.token_ids.end());
  for (const v1::TokenLogprob* entry : delta.logprobs) piece.logprobs.push_back(*entry);
  choice.gate.Push(std::move(piece));
  if (choice.gate.mode() != OutputGate::Mode::kOpen && !delta.text.empty()) {
    if (choice.stream == 0) {
      ScanSubject subject;
      subject.kind = output_kind_;
      subject.language = request_.language;
      subject.request_id = request_id_;
      subject.traceparent = FormatTraceparent(parent_);
      choice.stream =
          deps_.scanner->Open(subject, std::make_shared<Sequence>(shared_from_this(), index));
    }
    if (choice.stream == 0) {
      ScannerLostLocked(choice);
      if (over_ || choice.over) return;
    } else {
      deps_.scanner->Append(choice.stream, delta.text);
      if (!choice.waiting_since) choice.waiting_since = deps_.clock->Now();
    }
  }
  PumpLocked(choice);
}

void Generation::OnFinished(uint32_t index, const v1::Finished& finished) {
  std::lock_guard lock(mutex_);
  Choice& choice = *choices_[index];
  if (over_ || choice.over) return;
  choice.ticket = 0;
  if (finished.reason() == v1::FINISH_REASON_ERROR ||
      finished.reason() == v1::FINISH_REASON_UNSPECIFIED ||
      finished.reason() == v1::FINISH_REASON_CANCELLED) {
    return FailLocked(finished.has_error()
                          ? FromRequestError(finished.error(), request_, deps_.idle_models)
                          : Internal("the scheduler ended the request without a reason"));
  }
  BeginLocked();
  if (finished.usage().prompt_tokens() > 0) choice.prompt_tokens = finished.usage().prompt_tokens();
  choice.cached_prompt_tokens = finished.usage().cached_prompt_tokens();
  choice.prompt_time = std::chrono::milliseconds(
      finished.first_token_ms() > 0 ? finished.first_token_ms() : finished.total_ms());
  choice.output_time = std::chrono::milliseconds(finished.total_ms()) - choice.prompt_time;
  choice.tokens = std::max(choice.tokens, finished.usage().completion_tokens());
  choice.finished = true;
  choice.reason = finished.reason();
  choice.stop_string = finished.stop_string();
  if (choice.stream != 0) {
    deps_.scanner->Close(choice.stream);
    if (!choice.waiting_since) choice.waiting_since = deps_.clock->Now();
  } else {
    choice.scan_closed = true;
  }
  PumpLocked(choice);
}

void Generation::OnVerdict(uint32_t index, uint64_t clear, std::vector<scan::Finding> findings,
                           bool closed) {
  std::lock_guard lock(mutex_);
  Choice& choice = *choices_[index];
  if (over_ || choice.over) return;
  choice.waiting_since.reset();
  if (!closed && clear < choice.gate.pushed_bytes()) choice.waiting_since = deps_.clock->Now();
  if (closed) {
    choice.scan_closed = true;
    choice.stream = 0;
  }
  choice.gate.OnVerdict(clear, std::move(findings));
  PumpLocked(choice);
}

void Generation::OnScanFailed(uint32_t index, const absl::Status& status) {
  std::lock_guard lock(mutex_);
  Choice& choice = *choices_[index];
  if (over_ || choice.over) return;
  kLog.Warning(
      "the scanner did not look at an output",
      {{"request_id", request_id_}, {"exception", status}, {"passed", deps_.scan->fail_open}});
  choice.stream = 0;
  ScannerLostLocked(choice);
  if (!over_ && !choice.over) PumpLocked(choice);
}

void Generation::ScannerLostLocked(Choice& choice) {
  deps_.metrics->scan_skipped
      .With({scan::Name(output_kind_), deps_.scan->fail_open ? "open" : "closed"})
      .Increment();
  choice.waiting_since.reset();
  choice.scan_closed = true;
  if (deps_.scan->fail_open) {
    choice.gate.OpenUp();
    return;
  }
  FailLocked(WithErrorCode(
      WithRetryAfter(Unavailable("The security scanner is not available; the output was stopped."),
                     std::chrono::seconds(1)),
      "scanner_unavailable"));
}

void Generation::PumpLocked(Choice& choice) {
  for (const OutputGate::Piece& piece : choice.gate.Take()) sink_->OnPiece(choice.index, piece);
  if (choice.gate.blocked()) return EndChoiceLocked(choice, v1::FINISH_REASON_CONTENT_FILTER);
  if (choice.finished && choice.scan_closed && choice.gate.empty())
    EndChoiceLocked(choice, choice.reason);
}

void Generation::ReleaseLocked(Choice& choice) {
  if (choice.ticket != 0) deps_.scheduler->Cancel(std::exchange(choice.ticket, 0));
  if (choice.stream != 0) deps_.scanner->Drop(std::exchange(choice.stream, 0));
}

void Generation::EndChoiceLocked(Choice& choice, v1::FinishReason reason) {
  choice.over = true;
  ReleaseLocked(choice);
  CountFindings(output_kind_, choice.gate.reported());
  ChoiceEnd end;
  end.choice = choice.index;
  end.reason = reason;
  end.stop_string = choice.stop_string;
  end.prompt_truncated = choice.prompt_truncated || request_.prompt_truncated;
  end.prompt_tokens = choice.prompt_tokens;
  end.cached_prompt_tokens = choice.cached_prompt_tokens;
  end.completion_tokens = choice.tokens;
  end.prompt_time = choice.prompt_time;
  end.output_time = choice.output_time;
  end.findings = choice.gate.reported();
  if (reason == v1::FINISH_REASON_CONTENT_FILTER) end.blocked_by = &choice.gate.blocked_by();
  choice.reason = reason;
  sink_->OnChoiceEnd(end);
  if (--open_choices_ > 0) return;
  over_ = true;
  CloseAccountLocked(ReasonName(choices_[0]->reason));
  sink_->OnDone(TotalsLocked());
  SettleLocked(ReasonName(choices_[0]->reason), absl::OkStatus());
}

}  // namespace weft::gateway
