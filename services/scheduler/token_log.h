// The output tokens of one request, and the fence in front of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace weft::scheduler {

// What became of a row.
enum class Appended {
  kOk,
  kStale,  // of an attempt that is over: a worker that woke up late. Ignore the row.
  kGap,    // the current attempt, but not at the end of the log: the worker breaks the protocol.
};

// A token enters the log only when it comes from the current attempt and at index = length. So no
// token is lost or doubled, whatever workers do that were given up.
//
// Not thread safe; the dispatcher's thread owns it.
class TokenLog {
 public:
  TokenLog() = default;
  // A log that another scheduler began.
  explicit TokenLog(std::vector<uint32_t> restored) : tokens_(std::move(restored)) {}

  // The next attempt begins; rows of earlier ones are stale from now on. Returns its number.
  uint32_t BeginAttempt() { return ++attempt_; }
  // Rows of any attempt are stale from now on, until the next BeginAttempt.
  void EndAttempt() { ++attempt_; }

  Appended Append(uint32_t attempt, uint32_t first_index, std::span<const uint32_t> tokens) {
    if (attempt != attempt_) return Appended::kStale;
    if (first_index != tokens_.size()) return Appended::kGap;
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    return Appended::kOk;
  }

  uint32_t attempt() const { return attempt_; }
  const std::vector<uint32_t>& tokens() const { return tokens_; }
  size_t size() const { return tokens_.size(); }

 private:
  std::vector<uint32_t> tokens_;
  uint32_t attempt_ = 0;
};

}  // namespace weft::scheduler
