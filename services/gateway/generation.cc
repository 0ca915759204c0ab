#include "services/gateway/generation.h"

#include <algorithm>
#include <set>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/gateway/api_error.h"

namespace weft::gateway {
namespace {

const telemetry::Logger kLog("gateway");

// The scheduler ends a request that is out of time; this is for a scheduler that does not.
constexpr std::chrono::seconds kTimeoutSlack{5};
constexpr int kMaxPromptCleanings = 4;

absl::Status FromRequestError(const v1::RequestError& error, const GenerationRequest& request) {
  auto code = static_cast<absl::StatusCode>(error.code());
  absl::Status status = MakeStatus(code, error.message());
  if (status.ok()) status = Internal("the scheduler gave an error without a code");
  if (code == absl::StatusCode::kNotFound) status = ModelNotFound(request.submit.model());
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

// The texts that a request brings; `visit` may change them.
template <typename Visit>
void ForEachText(v1::Submit& input, const Visit& visit) {
  if (input.has_prompt()) visit(*input.mutable_prompt());
  if (input.has_chat()) {
    for (v1::ChatMessage& message : *input.mutable_chat()->mutable_messages()) {
      visit(*message.mutable_content());
    }
  }
  if (!input.has_fill_in()) return;
  v1::FillIn& fill = *input.mutable_fill_in();
  visit(*fill.mutable_prefix());
  visit(*fill.mutable_suffix());
  visit(*fill.mutable_middle());
  for (v1::ExtraFile& file : *fill.mutable_extra()) visit(*file.mutable_text());
}

template <typename Visit>
void ForEachText(GenerationRequest& request, const Visit& visit) {
  ForEachText(request.submit, visit);
  for (v1::Submit& input : request.inputs) ForEachText(input, visit);
}

bool HasText(GenerationRequest& request) {
  bool any = false;
  ForEachText(request, [&](const std::string&) { any = true; });
  return any;
}

std::string PromptText(GenerationRequest& request) {
  std::string text;
  ForEachText(request, [&](const std::string& part) { text.append(part).append("\n"); });
  return text;
}

// The texts of a prompt, which are cleaned apart.
std::vector<std::string*> PromptParts(GenerationRequest& request) {
  std::vector<std::string*> parts;
  ForEachText(request, [&](std::string& part) { parts.push_back(&part); });
  return parts;
}

// The offsets are those of PromptText.
void RedactPrompt(std::span<const scan::Finding> findings, GenerationRequest& request) {
  uint64_t begin = 0;
  ForEachText(request, [&](std::string& part) {
    const uint64_t next = begin + part.size() + 1;
    part = scan::Redact(part, begin, findings);
    begin = next;
  });
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

std::shared_ptr<Generation> Generation::Create(const GenerationDeps& deps,
                                               GenerationRequest request, std::string request_id,
                                               identity::PrincipalPtr principal,
                                               const telemetry::SpanContext& parent,
                                               std::unique_ptr<GenerationSink> sink) {
  return std::shared_ptr<Generation>(new Generation(deps, std::move(request), std::move(request_id),
                                                    std::move(principal), parent, std::move(sink)));
}

Generation::Generation(const GenerationDeps& deps, GenerationRequest request,
                       std::string request_id, identity::PrincipalPtr principal,
                       const telemetry::SpanContext& parent, std::unique_ptr<GenerationSink> sink)
    : deps_(deps),
      request_(std::move(request)),
      request_id_(std::move(request_id)),
      principal_(std::move(principal)),
      parent_(parent),
      arrived_(deps.clock->Now()),
      output_kind_(request_.kind == ApiKind::kGenerate || request_.kind == ApiKind::kInfill
                       ? scan::TextKind::kCode
                       : scan::TextKind::kOutput),
      sink_(std::move(sink)) {
  deps_.metrics->active_requests.Add(1);
  if (request_.prompt_truncated) deps_.metrics->prompts_truncated.Increment();
}

Generation::~Generation() { deps_.metrics->active_requests.Add(-1); }

void Generation::Start() {
  const bool scan_prompt =
      deps_.scanner != nullptr && HasText(request_) &&
      !scan::NeverBeyond(deps_.scan->policy, scan::TextKind::kPrompt, scan::Action::kOff);
  if (!scan_prompt) {
    std::lock_guard lock(mutex_);
    if (!over_) SubmitLocked();
    return;
  }
  ScanPrompt();
}

void Generation::ScanPrompt() {
  ScanSubject subject;
  subject.kind = scan::TextKind::kPrompt;
  subject.request_id = request_id_;
  std::string text;
  {
    std::lock_guard lock(mutex_);
    scanning_since_ = deps_.clock->Now();
    scan_span_ =
        deps_.tracer->Start("scan", {.parent = parent_, .kind = telemetry::SpanKind::kClient});
    subject.traceparent = scan_span_.traceparent();
    text = PromptText(request_);
  }
  deps_.scanner->ScanText(
      subject, std::move(text),
      [self = shared_from_this()](absl::StatusOr<std::vector<scan::Finding>> findings) {
        self->OnPromptScanned(std::move(findings));
      });
}

void Generation::OnPromptScanned(absl::StatusOr<std::vector<scan::Finding>> findings) {
  std::unique_lock lock(mutex_);
  scanning_since_.reset();
  if (over_) return;
  if (!findings.ok()) {
    if (PromptScanFailedLocked(findings.status())) SubmitLocked();
    return;
  }
  scan_span_.Set("weft.scan.findings", findings->size());
  scan_span_.End();
  auto keep_rules = JudgePromptLocked(std::move(*findings));
  if (!keep_rules.ok()) return FailLocked(keep_rules.status());
  if (!*keep_rules) return SubmitLocked();
  lock.unlock();  // the scanner's client may answer at once
  SanitizePrompt(std::move(**keep_rules));
}

bool Generation::PromptScanFailedLocked(const absl::Status& status) {
  scan_span_.SetStatus(status);
  scan_span_.End();
  deps_.metrics->scan_skipped.With({"prompt", deps_.scan->fail_open ? "open" : "closed"})
      .Increment();
  kLog.Warning(
      "the scanner did not look at a prompt",
      {{"request_id", request_id_}, {"exception", status}, {"passed", deps_.scan->fail_open}});
  if (deps_.scan->fail_open) return true;
  FailLocked(WithErrorCode(
      WithRetryAfter(Unavailable("The security scanner is not available; the request was refused."),
                     std::chrono::seconds(1)),
      "scanner_unavailable"));
  return false;
}

absl::StatusOr<std::optional<std::vector<std::string>>> Generation::JudgePromptLocked(
    std::vector<scan::Finding> findings) {
  const scan::Decision decision =
      scan::Decide(deps_.scan->policy, scan::TextKind::kPrompt, findings);
  if (prompt_cleanings_ == 0) {  // later scans see what is left
    for (const size_t i : decision.flagged) {
      if (!findings[i].continues()) prompt_findings_.push_back(findings[i]);
    }
    CountFindings(scan::TextKind::kPrompt, prompt_findings_);
  }
  std::optional<size_t> refused_for = decision.blocked_by;
  // A prompt that is built to be an attack again and again once it is cleaned.
  if (!refused_for && !decision.sanitize.empty() && prompt_cleanings_ == kMaxPromptCleanings) {
    refused_for = decision.sanitize.front();
  }
  if (refused_for) {
    const scan::Finding& finding = findings[*refused_for];
    return ParamError(
        request_.InputField(), "content_filter",
        fmt::format("The prompt was refused by the security policy: rule {} ({}), line {}.",
                    finding.rule, finding.type, finding.line));
  }
  if (!decision.redact.empty()) {
    std::vector<scan::Finding> redact;
    for (const size_t i : decision.redact) redact.push_back(findings[i]);
    RedactPrompt(redact, request_);
    prompt_redacted_ = true;
  }
  if (decision.sanitize.empty()) return std::nullopt;
  std::set<std::string> keep;
  for (const scan::Finding& finding : findings) {
    if (finding.category == scan::Category::kPrompt &&
        scan::Evaluate(deps_.scan->policy, scan::TextKind::kPrompt, finding) !=
            scan::Action::kSanitize) {
      keep.insert(finding.rule);
    }
  }
  return std::vector<std::string>(keep.begin(), keep.end());
}

void Generation::SanitizePrompt(std::vector<std::string> keep_rules) {
  ScanSubject subject;
  subject.kind = scan::TextKind::kPrompt;
  subject.request_id = request_id_;
  std::vector<std::string> parts;
  {
    std::lock_guard lock(mutex_);
    scanning_since_ = deps_.clock->Now();
    scan_span_ =
        deps_.tracer->Start("sanitize", {.parent = parent_, .kind = telemetry::SpanKind::kClient});
    subject.traceparent = scan_span_.traceparent();
    for (std::string* text : PromptParts(request_)) parts.push_back(*text);
  }
  deps_.scanner->Sanitize(
      subject, std::move(parts), std::move(keep_rules),
      [self = shared_from_this()](auto cleaned) { self->OnPromptSanitized(std::move(cleaned)); });
}

void Generation::OnPromptSanitized(absl::StatusOr<std::vector<std::string>> parts) {
  {
    std::lock_guard lock(mutex_);
    scanning_since_.reset();
    if (over_) return;
    if (parts.status().code() == absl::StatusCode::kInvalidArgument) {
      scan_span_.SetStatus(parts.status());
      scan_span_.End();
      return FailLocked(ParamError(request_.InputField(), "content_filter",
                                   "The prompt was refused by the security policy: it is too "
                                   "costly to remove what is not allowed in it."));
    }
    if (!parts.ok()) {
      if (PromptScanFailedLocked(parts.status())) SubmitLocked();
      return;
    }
    scan_span_.End();
    const std::vector<std::string*> texts = PromptParts(request_);
    for (size_t i = 0; i < texts.size(); ++i) *texts[i] = std::move((*parts)[i]);
    if (prompt_cleanings_++ == 0) deps_.metrics->prompts_sanitized.Increment();
  }
  ScanPrompt();  // a removal may join what is no better
}

void Generation::SubmitLocked() {
  schedule_span_ =
      deps_.tracer->Start("schedule", {.parent = parent_, .kind = telemetry::SpanKind::kClient});
  v1::Submit& submit = request_.submit;
  submit.set_request_id(request_id_);
  submit.set_traceparent(schedule_span_.traceparent());
  submit.set_share_key(principal_ ? principal_->tenant : std::string());
  if (deps_.salt_by_tenant && principal_) submit.set_kv_salt(principal_->tenant);
  submit.mutable_timeout()->set_seconds(
      std::chrono::duration_cast<std::chrono::seconds>(deps_.request_timeout).count());
  const OutputGate::Mode mode = deps_.scanner == nullptr
                                    ? OutputGate::Mode::kOpen
                                    : OutputGate::ModeFor(deps_.scan->policy, output_kind_);
  const uint32_t sequences = request_.sequences();
  for (uint32_t i = 0; i < sequences; ++i) {
    auto choice = std::make_unique<Choice>(*deps_.scan, output_kind_, mode);
    choice->index = i;
    choices_.push_back(std::move(choice));
  }
  open_choices_ = sequences;
  for (uint32_t i = 0; i < sequences && !over_; ++i) {
    submit.set_choice(i % request_.best_of);
    if (!request_.inputs.empty() && i % request_.best_of == 0) {
      v1::Submit& input = request_.inputs[i / request_.best_of];
      if (input.has_prompt()) {
        submit.set_prompt(input.prompt());
      } else {
        *submit.mutable_tokens() = input.tokens();
      }
    }
    choices_[i]->ticket =
        deps_.scheduler->Submit(submit, std::make_shared<Sequence>(shared_from_this(), i));
  }
}

void Generation::OnAccepted(uint32_t index, const v1::Accepted& accepted) {
  std::lock_guard lock(mutex_);
  if (over_) return;
  model_version_ = accepted.model_version();
  choices_[index]->prompt_tokens = static_cast<uint32_t>(accepted.prompt_ids_size());
  choices_[index]->prompt_truncated = accepted.truncated();
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
                          ? FromRequestError(finished.error(), request_)
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
  sink_->OnDone(TotalsLocked());
  SettleLocked(ReasonName(choices_[0]->reason), absl::OkStatus());
}

void Generation::FailLocked(const absl::Status& status) {
  if (std::exchange(over_, true)) return;
  for (auto& choice : choices_) ReleaseLocked(*choice);
  sink_->OnFailed(status);
  SettleLocked("error", status);
}

void Generation::Fail(const absl::Status& status) {
  std::lock_guard lock(mutex_);
  FailLocked(status);
}

void Generation::Cancel(std::string_view reason) {
  std::lock_guard lock(mutex_);
  if (std::exchange(over_, true)) return;
  for (auto& choice : choices_) ReleaseLocked(*choice);
  deps_.metrics->cancelled.With({reason}).Increment();
  SettleLocked("cancelled", Cancelled("{}", reason));
}

void Generation::Tick() {
  std::lock_guard lock(mutex_);
  if (over_) return;
  const SteadyTime now = deps_.clock->Now();
  if (now - arrived_ > deps_.request_timeout + kTimeoutSlack) {
    return FailLocked(DeadlineExceeded("The request took longer than {} s.",
                                       deps_.request_timeout.count() / 1000));
  }
  for (auto& choice : choices_) {
    if (over_) return;
    if (choice->over || !choice->waiting_since ||
        now - *choice->waiting_since < deps_.scan->timeout)
      continue;
    // In watch mode nothing waits for the verdict but the end.
    if (choice->gate.mode() == OutputGate::Mode::kWatch && !choice->finished) continue;
    if (choice->stream != 0) deps_.scanner->Drop(std::exchange(choice->stream, 0));
    ScannerLostLocked(*choice);
    if (!over_ && !choice->over) PumpLocked(*choice);
  }
}

Totals Generation::TotalsLocked() const {
  Totals totals;
  // A prompt counts once, however many answers it has.
  uint32_t prompt = 0, cached = 0, completion = 0;
  for (const auto& choice : choices_) {
    completion += choice->tokens;
    if (choice->index % request_.best_of != 0) continue;
    prompt += choice->prompt_tokens;
    cached += choice->cached_prompt_tokens;
  }
  totals.usage.set_prompt_tokens(prompt);
  totals.usage.set_cached_prompt_tokens(cached);
  totals.usage.set_completion_tokens(completion);
  totals.model_version = model_version_;
  totals.prompt_findings = prompt_findings_;
  totals.prompt_redacted = prompt_redacted_;
  totals.prompt_sanitized = prompt_cleanings_ > 0;
  totals.duration = deps_.clock->Now() - arrived_;
  return totals;
}

void Generation::CountFindings(scan::TextKind kind, std::span<const scan::Finding> findings) {
  for (const scan::Finding& finding : findings) {
    deps_.metrics->scan_findings
        .With({scan::Name(kind), scan::Name(scan::Evaluate(deps_.scan->policy, kind, finding))})
        .Increment();
  }
}

// Metrics, span and the one log line of a request that reached the model.
void Generation::SettleLocked(std::string_view outcome, const absl::Status& status) {
  const Totals totals = TotalsLocked();
  const std::string& model = request_.submit.model();
  Metrics& m = *deps_.metrics;
  const double seconds = Seconds(totals.duration);
  const std::string_view language = LanguageLabel(request_.language);
  m.code_gen_requests.With({language, status.ok() ? "success" : outcome}).Increment();
  m.code_gen_duration.With({language}).Observe(seconds);
  m.code_gen_tokens.With({language}).Observe(totals.usage.completion_tokens());
  if (begun_) {
    m.model_inference.With({model}).Observe(seconds);
    m.tokens.With({model, "prompt"}).Increment(totals.usage.prompt_tokens());
    m.tokens.With({model, "cached"}).Increment(totals.usage.cached_prompt_tokens());
    m.tokens.With({model, "completion"}).Increment(totals.usage.completion_tokens());
  }
  if (!status.ok() && status.code() != absl::StatusCode::kCancelled) {
    // A model's name that nobody serves is the client's text: it makes no series.
    const bool known = status.code() != absl::StatusCode::kNotFound;
    m.prediction_errors.With({known ? std::string_view(model) : "unknown", ToApiError(status).code})
        .Increment();
  }
  schedule_span_.Set("gen_ai.request.model", model);
  schedule_span_.Set("gen_ai.usage.input_tokens", totals.usage.prompt_tokens());
  schedule_span_.Set("gen_ai.usage.output_tokens", totals.usage.completion_tokens());
  schedule_span_.Set("gen_ai.response.finish_reasons",
                     std::vector<std::string>{std::string(outcome)});
  schedule_span_.SetStatus(status);
  schedule_span_.End();
  scan_span_.End();
  const auto fields = {
      telemetry::LogField("request_id", request_id_),
      telemetry::LogField("user_id",
                          principal_ ? std::string_view(principal_->key_id) : std::string_view()),
      telemetry::LogField("tenant",
                          principal_ ? std::string_view(principal_->tenant) : std::string_view()),
      telemetry::LogField("generation_time_ms", Millis(totals.duration)),
      telemetry::LogField("model", model),
      telemetry::LogField("outcome", outcome),
      telemetry::LogField("prompt_tokens", totals.usage.prompt_tokens()),
      telemetry::LogField("completion_tokens", totals.usage.completion_tokens()),
      telemetry::LogField("findings", prompt_findings_.size()),
      telemetry::LogField("error", status.ok() ? std::string_view() : Message(status)),
      telemetry::LogField(parent_)};
  if (status.ok() || status.code() != absl::StatusCode::kInternal) {
    kLog.Info("generation finished", fields);
  } else {
    kLog.Error("generation failed", fields);
  }
}

}  // namespace weft::gateway
