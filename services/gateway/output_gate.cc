#include "services/gateway/output_gate.h"

#include <algorithm>
#include <utility>

namespace weft::gateway {

using scan::Action;

OutputGate::Mode OutputGate::ModeFor(const scan::Policy& policy, scan::TextKind kind) {
  if (scan::NeverBeyond(policy, kind, Action::kOff)) return Mode::kOpen;
  if (scan::NeverBeyond(policy, kind, Action::kFlag)) return Mode::kWatch;
  return Mode::kHold;
}

void OutputGate::Push(Piece piece) {
  pushed_ += piece.text.size();
  held_.push_back(std::move(piece));
}

void OutputGate::OnVerdict(uint64_t clear_through, std::vector<scan::Finding> findings) {
  clear_ = std::max(clear_, std::min(clear_through, pushed_));
  for (scan::Finding& finding : findings) {
    const Action action = scan::Evaluate(policy_, kind_, finding);
    if (action == Action::kOff) continue;
    if (!finding.continues()) reported_.push_back(finding);
    if (action == Action::kRedact) redact_.push_back(finding);
    if (action == Action::kBlock && (!blocked_ || finding.begin < blocked_->begin)) {
      blocked_ = std::move(finding);
    }
  }
}

void OutputGate::OpenUp() { mode_ = Mode::kOpen; }

std::vector<OutputGate::Piece> OutputGate::Take() {
  const uint64_t limit = mode_ == Mode::kHold ? clear_ : pushed_;
  std::vector<Piece> out;
  if (ended_) return out;
  size_t taken = 0;
  for (Piece& piece : held_) {
    const uint64_t begin = taken_;
    const uint64_t end = begin + piece.text.size();
    if (blocked_ && end > blocked_->begin) {
      // The part before the blocked text is clear if the scanner has come so far.
      const uint64_t keep = std::min<uint64_t>(blocked_->begin, limit);
      piece.text.resize(keep > begin ? keep - begin : 0);
      piece.logprobs.clear();
      piece.token_ids.clear();
      if (!piece.text.empty()) {
        piece.text = scan::Redact(piece.text, begin, redact_);
        out.push_back(std::move(piece));
      }
      held_.clear();
      ended_ = true;
      return out;
    }
    if (end > limit) break;
    const bool touched = std::any_of(redact_.begin(), redact_.end(), [&](const scan::Finding& f) {
      return f.begin < end && f.end > begin;
    });
    if (touched) {
      piece.text = scan::Redact(piece.text, begin, redact_);
      // Ids and log probabilities would spell out what the text hides.
      piece.logprobs.clear();
      piece.token_ids.clear();
      redacted_ = true;
    }
    taken_ = end;
    ++taken;
    out.push_back(std::move(piece));
  }
  held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(taken));
  return out;
}

}  // namespace weft::gateway
