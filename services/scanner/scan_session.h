// One ScanStream call: the texts of one client that grow. Frames in, verdict frames out; neither
// gRPC nor threads.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "libs/scan/scanner.h"
#include "libs/telemetry/tracer.h"
#include "services/scanner/config.h"

namespace weft::v1 {
class ScanFrame;
class ScanOpen;
class ScanVerdictFrame;
}  // namespace weft::v1

namespace weft::scanner {

class ScannerTelemetry;

// One thread at a time.
class ScanSession {
 public:
  ScanSession(std::shared_ptr<const scan::RuleSet> rules, const Limits& limits,
              ScannerTelemetry& telemetry);
  ~ScanSession();
  ScanSession(const ScanSession&) = delete;
  ScanSession& operator=(const ScanSession&) = delete;

  // The answer to this frame. INVALID_ARGUMENT names the field of a frame that breaks the protocol:
  // the session must end.
  absl::StatusOr<v1::ScanVerdictFrame> Handle(const v1::ScanFrame& frame);

  // From now on opens are refused with UNAVAILABLE; open handles go on.
  void BeginDrain() { draining_ = true; }
  size_t open_streams() const { return streams_.size(); }

 private:
  struct Stream;
  class Verdict;

  absl::Status Check(const v1::ScanFrame& frame) const;
  void Open(const v1::ScanOpen& open, Verdict& verdict);
  void Append(uint32_t handle, std::string_view text, Verdict& verdict);
  void Close(uint32_t handle, Verdict& verdict);
  void Report(uint32_t handle, Stream& stream, scan::StreamScanner::Progress progress,
              Verdict& verdict);
  void End(std::map<uint32_t, std::unique_ptr<Stream>>::iterator it, const absl::Status& status);
  void Fail(uint32_t handle, const absl::Status& status, Verdict& verdict);

  const std::shared_ptr<const scan::RuleSet> rules_;
  const Limits limits_;
  ScannerTelemetry& telemetry_;
  std::map<uint32_t, std::unique_ptr<Stream>> streams_;
  uint64_t next_handle_ = 0;  // smaller ones were used
  bool first_ = true;
  bool draining_ = false;
};

}  // namespace weft::scanner
