#include "services/scanner/scanner_telemetry.h"

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/scan/rule_set.h"
#include "libs/telemetry/semantic.h"

namespace weft::scanner {
namespace {

const std::vector<double> kSecondsBuckets = {
    .00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1};

std::string CodeName(const absl::Status& status) { return absl::StatusCodeToString(status.code()); }

}  // namespace

ScannerTelemetry::ScannerTelemetry(telemetry::Registry& registry, telemetry::Tracer& tracer,
                                   const scan::RuleSet& rules)
    : tracer_(tracer),
      requests_(registry.CounterWith("weft_scanner_requests_total",
                                     "ScanText and SanitizePrompt calls and ScanStream frames by "
                                     "outcome.",
                                     {"method", "code"})),
      seconds_(registry.HistogramWith("weft_scanner_scan_seconds",
                                      "Time to scan one text or one frame.", {"method"},
                                      kSecondsBuckets)),
      frame_seconds_(seconds_.With({"ScanStream"})),
      bytes_(registry.CounterWith("weft_scanner_bytes_total", "Text scanned.", {"kind"})),
      findings_(registry.CounterWith("weft_scanner_findings_total", "Findings reported.",
                                     {"type", "rule"}, 4096)),
      stream_errors_(registry.CounterWith("weft_scanner_stream_errors_total",
                                          "Handles that failed, by code.", {"code"})),
      open_streams_(registry.GaugeOf("weft_scanner_open_streams", "Texts that are growing.")),
      sessions_(registry.GaugeOf("weft_scanner_sessions", "ScanStream calls that are open.")) {
  registry.GaugeWith("weft_scanner_rules", "Rules in use, by version of the set.", {"version"})
      .With({rules.version()})
      .Set(static_cast<double>(rules.rules().size()));
}

void ScannerTelemetry::OnUnary(std::string_view method, scan::TextKind kind, uint64_t bytes,
                               std::chrono::nanoseconds took, const absl::Status& status) {
  requests_.With({method, CodeName(status)}).Increment();
  if (!status.ok()) return;
  seconds_.With({method}).Observe(Seconds(took));
  bytes_.With({Name(kind)}).Increment(static_cast<double>(bytes));
}

void ScannerTelemetry::OnFrame(std::chrono::nanoseconds took, const absl::Status& status) {
  requests_.With({"ScanStream", CodeName(status)}).Increment();
  frame_seconds_.Observe(Seconds(took));
}

void ScannerTelemetry::OnStreamText(scan::TextKind kind, uint64_t bytes) {
  bytes_.With({Name(kind)}).Increment(static_cast<double>(bytes));
}

void ScannerTelemetry::OnStreamError(const absl::Status& status) {
  stream_errors_.With({CodeName(status)}).Increment();
}

void ScannerTelemetry::OnFinding(const scan::Finding& finding) {
  findings_.With({finding.type, finding.rule}).Increment();
}

telemetry::Span ScannerTelemetry::StartSpan(std::string_view name, std::string_view traceparent,
                                            std::string_view request_id, scan::TextKind kind) {
  telemetry::Span span = tracer_.Start(
      name, {.parent = tracer_.Extract(traceparent), .kind = telemetry::SpanKind::kServer});
  span.Set(telemetry::semantic::kRpcSystem, "grpc");
  span.Set(telemetry::semantic::kRpcService, "weft.v1.ScannerService");
  if (!request_id.empty()) span.Set(telemetry::semantic::kRequestId, request_id);
  span.Set("weft.scan.kind", Name(kind));
  return span;
}

void ScannerTelemetry::EndSpan(telemetry::Span& span, uint64_t bytes, uint64_t findings,
                               const absl::Status& status) {
  span.Set("weft.scan.bytes", bytes);
  span.Set("weft.scan.findings", findings);
  if (!status.ok()) span.SetStatus(status);
  span.End();
}

}  // namespace weft::scanner
