// Holds back the text of one output until the scanner has looked at it, and applies the policy.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/scan/policy.h"
#include "weft/v1/common.pb.h"

namespace weft::gateway {

// A state machine without locks or time. Text enters in pieces and leaves in the same pieces.
class OutputGate {
 public:
  enum class Mode {
    kOpen,   // nothing is scanned
    kWatch,  // text passes at once; findings are only reported
    kHold,   // text waits for its verdict
  };
  // The weakest mode that can enforce the policy for this kind of text.
  static Mode ModeFor(const scan::Policy& policy, scan::TextKind kind);

  OutputGate(const scan::Policy& policy, scan::TextKind kind, Mode mode)
      : policy_(policy), kind_(kind), mode_(mode) {}

  struct Piece {
    std::string text;
    std::vector<uint32_t> token_ids;
    std::vector<v1::TokenLogprob> logprobs;
  };

  void Push(Piece piece);
  void OnVerdict(uint64_t clear_through, std::vector<scan::Finding> findings);
  // The scanner will say no more: everything held passes as it is from now on.
  void OpenUp();

  // Takes what may be shown now. After a block: what stands before the blocked text, then nothing.
  std::vector<Piece> Take();

  bool empty() const { return held_.empty(); }
  bool blocked() const { return blocked_.has_value(); }
  const scan::Finding& blocked_by() const { return *blocked_; }
  // Findings that the policy reports, by begin; each once.
  const std::vector<scan::Finding>& reported() const { return reported_; }
  bool redacted() const { return redacted_; }
  Mode mode() const { return mode_; }
  uint64_t pushed_bytes() const { return pushed_; }

 private:
  const scan::Policy& policy_;
  const scan::TextKind kind_;
  Mode mode_;
  std::vector<Piece> held_;  // the first begins at taken_
  uint64_t pushed_ = 0;
  uint64_t taken_ = 0;
  uint64_t clear_ = 0;
  std::vector<scan::Finding> redact_;
  std::vector<scan::Finding> reported_;
  std::optional<scan::Finding> blocked_;
  bool redacted_ = false;
  bool ended_ = false;  // by a block
};

}  // namespace weft::gateway
