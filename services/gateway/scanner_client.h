// The gateway's side of the scanner: whole prompts by one call, growing outputs through one
// session.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/rpc/channel.h"
#include "libs/scan/finding.h"

namespace weft::gateway {

struct ScanSubject {
  scan::TextKind kind = scan::TextKind::kOutput;
  std::string language;
  std::string request_id;
  std::string traceparent;
};

// Called without locks of the client, in order; must not block.
class ScanSink {
 public:
  virtual ~ScanSink() = default;
  // Every finding that begins before `clear_through` has been reported by now. `closed`: the last
  // call.
  virtual void OnVerdict(uint64_t clear_through, std::vector<scan::Finding> findings,
                         bool closed) = 0;
  // Last. The rest of the text was not judged.
  virtual void OnScanFailed(const absl::Status& status) = 0;
};

// Thread safe; nothing blocks except the destructor.
class ScannerClient {
 public:
  static absl::StatusOr<std::unique_ptr<ScannerClient>> Create(const rpc::ChannelOptions& channel,
                                                               std::chrono::milliseconds timeout);
  virtual ~ScannerClient() = default;

  virtual void ScanText(const ScanSubject& subject, std::string text,
                        std::function<void(absl::StatusOr<std::vector<scan::Finding>>)> done) = 0;

  // SanitizePrompt of the scanner: the parts without what prompt rules other than `keep_rules`
  // match, as many as there were. INVALID_ARGUMENT: they are too costly to clean.
  virtual void Sanitize(const ScanSubject& subject, std::vector<std::string> parts,
                        std::vector<std::string> keep_rules,
                        std::function<void(absl::StatusOr<std::vector<std::string>>)> done) = 0;

  // 0 when no session is open.
  using Stream = uint32_t;
  virtual Stream Open(const ScanSubject& subject, std::shared_ptr<ScanSink> sink) = 0;
  virtual void Append(Stream stream, std::string_view text) = 0;
  virtual void Close(Stream stream) = 0;  // no more text; the sink still gets the last verdict
  virtual void Drop(Stream stream) = 0;   // forget; the sink is not called again

  virtual bool connected() const = 0;
};

}  // namespace weft::gateway
