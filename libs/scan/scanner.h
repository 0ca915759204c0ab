// Scans texts, whole or as they grow. However a text is cut, the findings are the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/scan/finding.h"

namespace weft::scan {

class RuleSet;

struct ScanOptions {
  TextKind kind = TextKind::kCode;
  std::string language = {};   // any case; empty: any
  size_t max_findings = 1000;  // further ones are only counted
  bool mask_secrets = true;    // off only where findings stay inside the process
};

struct ScanResult {
  std::vector<Finding> findings;  // by begin, then by the order of the rules
  bool truncated = false;         // there were more than max_findings
};

// Thread safe.
ScanResult ScanText(const RuleSet& rules, std::string_view text, const ScanOptions& options = {});

// One text that grows. Not thread safe; different streams may run on different threads. Memory is
// bounded: the rule set's stream_bytes() and at most a few windows of text.
class StreamScanner {
 public:
  StreamScanner(std::shared_ptr<const RuleSet> rules, ScanOptions options);
  ~StreamScanner();
  StreamScanner(StreamScanner&&) noexcept;
  StreamScanner& operator=(StreamScanner&&) noexcept;

  struct Progress {
    std::vector<Finding> findings;  // new ones, by begin
    // Every finding that begins before this byte has been reported, in this progress or before,
    // and its end is final. Never moves back; always at the start of a UTF-8 character.
    uint64_t clear_through = 0;
  };

  // Must not be called after Close.
  Progress Append(std::string_view text);
  // The text ends here: clear_through is its size.
  Progress Close();

  uint64_t bytes() const;
  bool truncated() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace weft::scan
