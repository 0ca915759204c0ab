// The prompt before it is submitted: scanned, judged, redacted or cleaned.
#include <set>
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

constexpr int kMaxPromptCleanings = 4;

}  // namespace

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

}  // namespace weft::gateway
