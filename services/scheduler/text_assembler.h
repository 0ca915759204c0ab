// From tokens to the text that a client sees: detokenising, stop strings, what may be shown yet.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "services/scheduler/token_text.h"
#include "weft/v1/common.pb.h"

namespace weft::scheduler {

// What may be delivered now.
struct TextDelta {
  uint32_t first_index = 0;      // output index of the first of `tokens`
  uint64_t byte_offset = 0;      // of `text` in the whole output text
  std::vector<uint32_t> tokens;  // those whose text is delivered with this delta or before it
  std::string text;              // whole UTF-8 characters
  std::vector<v1::TokenLogprob> logprobs;  // parallel with `tokens` when asked for, else empty

  bool empty() const { return tokens.empty() && text.empty(); }
};

// Text that may begin a stop string is held back, together with its tokens and their logprobs,
// until it is clear; a token's text leaves whole. When a stop string is met, the text ends before
// it, and tokens that begin at or after that point are dropped: neither shown nor billed. Which
// stop string ends a text depends only on the text, not on how tokens cut it: the one that is
// complete first; of those, the longest.
//
// Not thread safe; the dispatcher's thread owns it.
class TextAssembler {
 public:
  // `stops`: none empty.
  TextAssembler(std::unique_ptr<Detokenizer> detokenizer, std::vector<std::string> stops);

  // Continues a text that another scheduler began: these tokens and this many bytes were delivered.
  // FAILED_PRECONDITION when the tokens do not give so many bytes.
  absl::Status Restore(std::span<const uint32_t> tokens, uint64_t bytes_delivered);

  // After a stop string was met, further tokens are ignored. `logprob` may be null; it is moved
  // from.
  void Append(uint32_t token, v1::TokenLogprob* logprob);
  // A token that ends the output and has no text: end of sequence, or a stop id.
  void AppendSilent(uint32_t token, v1::TokenLogprob* logprob);
  // No token follows: nothing is held back any longer (but a stop string may still be met).
  void Finish();

  // Moves what may be delivered to the end of `delta`, which holds the deltas before it or is
  // empty.
  void Take(TextDelta* delta);

  bool stopped() const { return stop_.has_value(); }
  // The stop string that was met; empty when none was.
  std::string_view stop_string() const;
  // Tokens taken so far, restored ones included: what is billed.
  uint32_t tokens_taken() const { return tokens_taken_; }
  uint64_t bytes_taken() const { return bytes_taken_; }

 private:
  struct Entry {
    uint32_t token;
    uint64_t begin;  // of its text in the whole output text
    uint64_t end;
    std::optional<v1::TokenLogprob> logprob;
  };
  void Add(uint32_t token, v1::TokenLogprob* logprob, std::string_view text);
  void AddText(std::string_view text);
  // Length of the longest end of `pending_` that is the beginning of a stop string.
  size_t HoldBack() const;

  std::unique_ptr<Detokenizer> detokenizer_;
  const std::vector<std::string> stops_;
  std::string pending_;        // text not yet taken; begins at bytes_taken_
  std::deque<Entry> entries_;  // tokens not yet taken
  uint64_t clear_end_ = 0;     // text before this offset may be delivered
  uint64_t bytes_taken_ = 0;
  uint32_t tokens_taken_ = 0;
  std::optional<size_t> stop_;  // index in stops_
};

}  // namespace weft::scheduler
