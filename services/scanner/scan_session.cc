#include "services/scanner/scan_session.h"

#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/scan/rule_set.h"
#include "services/scanner/scanner_telemetry.h"
#include "services/scanner/wire.h"
#include "weft/v1/scanner.pb.h"

namespace weft::scanner {
namespace {

constexpr size_t kMaxLanguageBytes = 64;

}  // namespace

struct ScanSession::Stream {
  scan::TextKind kind;
  scan::StreamScanner scanner;
  telemetry::Span span;
  uint64_t findings = 0;
};

// The verdict frame under construction: each handle has at most one entry.
class ScanSession::Verdict {
 public:
  void Clear(uint32_t handle, uint64_t clear_through) {
    const auto [it, added] = entries_.emplace(handle, frame_.handles_size());
    if (added) {
      frame_.add_handles(handle);
      frame_.add_clear_through(clear_through);
    } else {
      frame_.set_clear_through(it->second, clear_through);
    }
  }
  v1::StreamFindings& Findings(uint32_t handle) {
    const auto [it, added] = findings_.emplace(handle, frame_.findings_size());
    if (added) frame_.add_findings()->set_handle(handle);
    return *frame_.mutable_findings(it->second);
  }
  v1::ScanVerdictFrame& frame() { return frame_; }

 private:
  v1::ScanVerdictFrame frame_;
  std::map<uint32_t, int> entries_;
  std::map<uint32_t, int> findings_;
};

ScanSession::ScanSession(std::shared_ptr<const scan::RuleSet> rules, const Limits& limits,
                         ScannerTelemetry& telemetry)
    : rules_(std::move(rules)), limits_(limits), telemetry_(telemetry) {}

ScanSession::~ScanSession() {
  while (!streams_.empty()) End(streams_.begin(), Cancelled("the session ended"));
}

absl::StatusOr<v1::ScanVerdictFrame> ScanSession::Handle(const v1::ScanFrame& frame) {
  WEFT_RETURN_IF_ERROR(Check(frame));
  Verdict verdict;
  if (first_) verdict.frame().set_ruleset_version(rules_->version());
  first_ = false;
  for (const v1::ScanOpen& open : frame.opens()) Open(open, verdict);
  std::string_view text = frame.text();
  for (int i = 0; i < frame.handles_size(); ++i) {
    Append(frame.handles(i), text.substr(0, frame.lengths(i)), verdict);
    text.remove_prefix(frame.lengths(i));
  }
  for (const uint32_t handle : frame.closes()) Close(handle, verdict);
  for (const uint32_t handle : frame.drops()) {
    if (const auto it = streams_.find(handle); it != streams_.end()) {
      End(it, Cancelled("dropped by the client"));
    }
  }
  return std::move(verdict.frame());
}

// What a correct client never sends.
absl::Status ScanSession::Check(const v1::ScanFrame& frame) const {
  if (frame.handles_size() != frame.lengths_size()) {
    return WithField(InvalidArgument("lengths: {} entries for {} handles", frame.lengths_size(),
                                     frame.handles_size()),
                     "lengths");
  }
  uint64_t sum = 0;
  for (const uint32_t length : frame.lengths()) sum += length;
  if (sum != frame.text().size()) {
    return WithField(
        InvalidArgument("lengths: they add up to {}, text has {} bytes", sum, frame.text().size()),
        "lengths");
  }
  uint64_t next = next_handle_;
  for (int i = 0; i < frame.opens_size(); ++i) {
    const uint32_t handle = frame.opens(i).handle();
    if (handle < next) {
      return WithField(
          InvalidArgument("opens[{}].handle: {} is not above all earlier ones", i, handle),
          fmt::format("opens[{}].handle", i));
    }
    next = uint64_t{handle} + 1;
  }
  return absl::OkStatus();
}

void ScanSession::Open(const v1::ScanOpen& open, Verdict& verdict) {
  const uint32_t handle = open.handle();
  next_handle_ = uint64_t{handle} + 1;
  const auto kind = KindFromWire(open.kind(), "opens.kind");
  if (!kind.ok()) return Fail(handle, kind.status(), verdict);
  if (open.language().size() > kMaxLanguageBytes) {
    return Fail(handle,
                WithField(InvalidArgument("opens.language: {} bytes, at most {} are allowed",
                                          open.language().size(), kMaxLanguageBytes),
                          "opens.language"),
                verdict);
  }
  if (draining_) return Fail(handle, Unavailable("the scanner is stopping"), verdict);
  if (streams_.size() >= static_cast<size_t>(limits_.max_open_streams)) {
    return Fail(handle,
                WithField(ResourceExhausted("opens: {} handles are open, no more are allowed",
                                            streams_.size()),
                          "opens"),
                verdict);
  }
  scan::ScanOptions options;
  options.kind = *kind;
  options.language = open.language();
  options.max_findings = static_cast<size_t>(limits_.max_findings);
  telemetry::Span span =
      telemetry_.StartSpan("scan stream", open.traceparent(), open.request_id(), *kind);
  streams_.emplace(handle, new Stream{.kind = *kind,
                                      .scanner = scan::StreamScanner(rules_, std::move(options)),
                                      .span = std::move(span)});
  telemetry_.OnStreamOpened(1);
}

void ScanSession::Append(uint32_t handle, std::string_view text, Verdict& verdict) {
  const auto it = streams_.find(handle);
  if (it == streams_.end()) {
    return Fail(handle, WithField(NotFound("handles: {} is not open", handle), "handles"), verdict);
  }
  Stream& stream = *it->second;
  if (stream.scanner.bytes() + text.size() > limits_.max_stream_bytes) {
    return Fail(handle,
                WithField(ResourceExhausted("text: handle {} has more than {} bytes", handle,
                                            limits_.max_stream_bytes),
                          "text"),
                verdict);
  }
  telemetry_.OnStreamText(stream.kind, text.size());
  Report(handle, stream, stream.scanner.Append(text), verdict);
}

void ScanSession::Close(uint32_t handle, Verdict& verdict) {
  const auto it = streams_.find(handle);
  if (it == streams_.end()) {
    return Fail(handle, WithField(NotFound("closes: {} is not open", handle), "closes"), verdict);
  }
  Report(handle, *it->second, it->second->scanner.Close(), verdict);
  verdict.frame().add_closed(handle);
  End(it, absl::OkStatus());
}

void ScanSession::Report(uint32_t handle, Stream& stream, scan::StreamScanner::Progress progress,
                         Verdict& verdict) {
  verdict.Clear(handle, progress.clear_through);
  stream.findings += progress.findings.size();
  if (progress.findings.empty() && !stream.scanner.truncated()) return;
  v1::StreamFindings& out = verdict.Findings(handle);
  out.set_truncated(stream.scanner.truncated());
  for (scan::Finding& finding : progress.findings) {
    if (!finding.continues()) telemetry_.OnFinding(finding);
    ToWire(std::move(finding), *out.add_findings());
  }
}

void ScanSession::End(std::map<uint32_t, std::unique_ptr<Stream>>::iterator it,
                      const absl::Status& status) {
  Stream& stream = *it->second;
  ScannerTelemetry::EndSpan(stream.span, stream.scanner.bytes(), stream.findings, status);
  streams_.erase(it);
  telemetry_.OnStreamOpened(-1);
}

void ScanSession::Fail(uint32_t handle, const absl::Status& status, Verdict& verdict) {
  telemetry_.OnStreamError(status);
  verdict.frame().add_closed(handle);
  v1::ScanHandleError& error = *verdict.frame().add_errors();
  error.set_handle(handle);
  ToWire(status, *error.mutable_error());
  if (const auto it = streams_.find(handle); it != streams_.end()) End(it, status);
}

}  // namespace weft::scanner
