#include "services/scanner/scan_session.h"

#include <string>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/scan/rule_set.h"
#include "services/scanner/scanner_telemetry.h"
#include "tests/support/catch.h"
#include "weft/v1/scanner.pb.h"

namespace weft::scanner {
namespace {

struct Fixture {
  std::shared_ptr<const scan::RuleSet> rules = *scan::RuleSet::Builtin();
  telemetry::Registry registry;
  telemetry::Tracer tracer{telemetry::TracerOptions(), nullptr};
  ScannerTelemetry telemetry{registry, tracer, *rules};
  Limits limits;
  std::unique_ptr<ScanSession> session;

  v1::ScanVerdictFrame Handle(const v1::ScanFrame& frame) {
    if (session == nullptr) session = std::make_unique<ScanSession>(rules, limits, telemetry);
    auto verdict = session->Handle(frame);
    INFO(ToString(verdict.status()));
    REQUIRE(verdict.ok());
    return *std::move(verdict);
  }
  absl::Status Error(const v1::ScanFrame& frame) {
    if (session == nullptr) session = std::make_unique<ScanSession>(rules, limits, telemetry);
    return session->Handle(frame).status();
  }
};

void Open(v1::ScanFrame& frame, uint32_t handle, v1::TextKind kind = v1::TEXT_KIND_OUTPUT) {
  v1::ScanOpen& open = *frame.add_opens();
  open.set_handle(handle);
  open.set_kind(kind);
}

void Text(v1::ScanFrame& frame, uint32_t handle, std::string_view text) {
  frame.add_handles(handle);
  frame.add_lengths(static_cast<uint32_t>(text.size()));
  frame.mutable_text()->append(text);
}

TEST_CASE("One frame opens, fills and closes many handles", "[scanner]") {
  Fixture f;
  v1::ScanFrame frame;
  Open(frame, 1);
  Open(frame, 2);
  Open(frame, 7, v1::TEXT_KIND_PROMPT);
  Text(frame, 1, "x = eval(");
  Text(frame, 2, "all is well ");
  Text(frame, 7, "<|im_start|> hi");
  Text(frame, 1, "y)\n");
  frame.add_closes(7);
  const v1::ScanVerdictFrame verdict = f.Handle(frame);
  CHECK(verdict.ruleset_version() == f.rules->version());
  REQUIRE(verdict.handles_size() == 3);
  CHECK(verdict.handles(0) == 1);
  CHECK(verdict.clear_through(0) == 12);
  CHECK(verdict.clear_through(1) == 12);
  CHECK(verdict.handles(2) == 7);
  CHECK(verdict.clear_through(2) == 15);
  REQUIRE(verdict.findings_size() == 2);
  CHECK(verdict.findings(0).handle() == 1);
  CHECK(verdict.findings(0).findings(0).rule() == "code.eval");
  CHECK(verdict.findings(0).findings(0).match() == "x = eval(y)");
  CHECK(verdict.findings(0).findings(0).severity() == v1::SEVERITY_HIGH);
  CHECK(verdict.findings(1).findings(0).category() == "prompt");
  REQUIRE(verdict.closed_size() == 1);
  CHECK(verdict.closed(0) == 7);
  CHECK(f.session->open_streams() == 2);
  CHECK(f.Handle({}).ruleset_version().empty());
}

TEST_CASE("Handles do not see each other's text", "[scanner]") {
  Fixture f;
  v1::ScanFrame frame;
  Open(frame, 1);
  Open(frame, 2);
  Text(frame, 1, "eva");
  Text(frame, 2, "l(x)\n");
  frame.add_closes(1);
  frame.add_closes(2);
  CHECK(f.Handle(frame).findings_size() == 0);
}

TEST_CASE("A malformed frame ends the session and names the field", "[scanner]") {
  Fixture f;
  v1::ScanFrame lengths;
  lengths.add_handles(1);
  CHECK(FieldOf(f.Error(lengths)) == "lengths");
  v1::ScanFrame sum;
  sum.add_handles(1);
  sum.add_lengths(3);
  sum.set_text("ab");
  CHECK(Message(f.Error(sum)).find("lengths: they add up to 3, text has 2") == 0);
  v1::ScanFrame open;
  Open(open, 5);
  f.Handle(open);
  CHECK(FieldOf(f.Error(open)) == "opens[0].handle");
  v1::ScanFrame twice;
  Open(twice, 6);
  Open(twice, 6);
  CHECK(FieldOf(f.Error(twice)) == "opens[1].handle");
}

TEST_CASE("What is wrong with one handle leaves the others alone", "[scanner]") {
  Fixture f;
  f.limits.max_open_streams = 2;
  f.limits.max_stream_bytes = 10;
  v1::ScanFrame frame;
  Open(frame, 1);
  Open(frame, 2, v1::TEXT_KIND_UNSPECIFIED);
  Open(frame, 3);
  Open(frame, 4);
  Text(frame, 1, "fine");
  Text(frame, 3, "more than ten bytes");
  Text(frame, 99, "x");
  frame.add_closes(98);
  frame.add_drops(97);
  const v1::ScanVerdictFrame verdict = f.Handle(frame);
  REQUIRE(verdict.errors_size() == 5);
  const auto check = [&](int i, uint32_t handle, absl::StatusCode code, const std::string& field) {
    CHECK(verdict.errors(i).handle() == handle);
    CHECK(verdict.errors(i).error().code() == static_cast<int>(code));
    CHECK(verdict.errors(i).error().field() == field);
    CHECK(verdict.closed(i) == handle);
  };
  check(0, 2, absl::StatusCode::kInvalidArgument, "opens.kind");
  check(1, 4, absl::StatusCode::kResourceExhausted, "opens");
  check(2, 3, absl::StatusCode::kResourceExhausted, "text");
  check(3, 99, absl::StatusCode::kNotFound, "handles");
  check(4, 98, absl::StatusCode::kNotFound, "closes");
  REQUIRE(verdict.handles_size() == 1);
  CHECK(verdict.handles(0) == 1);
  CHECK(f.session->open_streams() == 1);
}

TEST_CASE("Too many findings are cut and said to be", "[scanner]") {
  Fixture f;
  f.limits.max_findings = 2;
  v1::ScanFrame frame;
  Open(frame, 1);
  Text(frame, 1, "eval(a)\neval(b)\neval(c)\n");
  const v1::ScanVerdictFrame verdict = f.Handle(frame);
  REQUIRE(verdict.findings_size() == 1);
  CHECK(verdict.findings(0).findings_size() == 2);
  CHECK(verdict.findings(0).truncated());
}

TEST_CASE("Invalid UTF-8 in a match is replaced, for proto strings are UTF-8", "[scanner]") {
  Fixture f;
  v1::ScanFrame frame;
  Open(frame, 1);
  Text(frame, 1, "eval(\xFF\xC3)\n");
  const v1::ScanVerdictFrame verdict = f.Handle(frame);
  REQUIRE(verdict.findings_size() == 1);
  CHECK(verdict.findings(0).findings(0).match() == "eval(\xEF\xBF\xBD\xEF\xBF\xBD)");
}

TEST_CASE("While draining no handle is opened, open ones go on", "[scanner]") {
  Fixture f;
  v1::ScanFrame first;
  Open(first, 1);
  f.Handle(first);
  f.session->BeginDrain();
  v1::ScanFrame second;
  Open(second, 2);
  Text(second, 1, "eval(x)\n");
  second.add_closes(1);
  const v1::ScanVerdictFrame verdict = f.Handle(second);
  REQUIRE(verdict.errors_size() == 1);
  CHECK(verdict.errors(0).error().code() == static_cast<int>(absl::StatusCode::kUnavailable));
  CHECK(verdict.findings_size() == 1);
  CHECK(f.session->open_streams() == 0);
}

TEST_CASE("Metrics count frames, bytes, findings and open streams", "[scanner]") {
  Fixture f;
  v1::ScanFrame frame;
  Open(frame, 1);
  Text(frame, 1, "eval(x)\n");
  f.Handle(frame);
  const std::string metrics = f.registry.Expose();
  INFO(metrics);
  CHECK(metrics.find("weft_scanner_open_streams 1") != std::string::npos);
  CHECK(metrics.find("weft_scanner_bytes_total{kind=\"output\"} 8") != std::string::npos);
  CHECK(metrics.find("weft_scanner_findings_total{rule=\"code.eval\",type=\"code_injection\"} 1") !=
        std::string::npos);
  f.session.reset();
  CHECK(f.registry.Expose().find("weft_scanner_open_streams 0") != std::string::npos);
}

}  // namespace
}  // namespace weft::scanner
