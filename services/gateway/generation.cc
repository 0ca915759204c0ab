#include "services/gateway/generation.h"

#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/gateway/api_error.h"
#include "services/gateway/generation_choice.h"
#include "services/gateway/prompt_text.h"

namespace weft::gateway {
namespace {

const telemetry::Logger kLog("gateway");

// The scheduler ends a request that is out of time; this is for a scheduler that does not.
constexpr std::chrono::seconds kTimeoutSlack{5};

}  // namespace

std::shared_ptr<Generation> Generation::Create(const GenerationDeps& deps,
                                               GenerationRequest request, std::string request_id,
                                               identity::PrincipalPtr principal,
                                               const telemetry::SpanContext& parent,
                                               std::unique_ptr<GenerationSink> sink,
                                               std::shared_ptr<Account> account) {
  return std::shared_ptr<Generation>(new Generation(deps, std::move(request), std::move(request_id),
                                                    std::move(principal), parent, std::move(sink),
                                                    std::move(account)));
}

Generation::Generation(const GenerationDeps& deps, GenerationRequest request,
                       std::string request_id, identity::PrincipalPtr principal,
                       const telemetry::SpanContext& parent, std::unique_ptr<GenerationSink> sink,
                       std::shared_ptr<Account> account)
    : deps_(deps),
      request_(std::move(request)),
      request_id_(std::move(request_id)),
      principal_(std::move(principal)),
      parent_(parent),
      arrived_(deps.clock->Now()),
      output_kind_(request_.kind == ApiKind::kGenerate || request_.kind == ApiKind::kInfill
                       ? scan::TextKind::kCode
                       : scan::TextKind::kOutput),
      sink_(std::move(sink)),
      account_(std::move(account)) {
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

void Generation::FailLocked(const absl::Status& status) {
  if (std::exchange(over_, true)) return;
  for (auto& choice : choices_) ReleaseLocked(*choice);
  CloseAccountLocked("error");
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
  CloseAccountLocked("cancelled");
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

void Generation::TellProgressLocked() {
  if (!account_) return;
  const v1::Usage usage = TotalsLocked().usage;
  account_->Progress({.prompt = usage.prompt_tokens(),
                      .cached_prompt = usage.cached_prompt_tokens(),
                      .completion = usage.completion_tokens()});
}

void Generation::CloseAccountLocked(std::string_view outcome) {
  if (!account_) return;
  const Totals totals = TotalsLocked();
  account_->Finish({.tokens = {.prompt = totals.usage.prompt_tokens(),
                               .cached_prompt = totals.usage.cached_prompt_tokens(),
                               .completion = totals.usage.completion_tokens()},
                    .outcome = outcome,
                    .model_version = totals.model_version,
                    .duration = totals.duration});
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
