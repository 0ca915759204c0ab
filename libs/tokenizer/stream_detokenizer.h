// Tokens to text while they arrive.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "libs/tokenizer/tokenizer.h"
#include "libs/tokenizer/utf8.h"

namespace weft {

// One generated sequence; not thread safe. Whatever the split into tokens, the concatenation of
// all Append results and Flush is Tokenizer::Decode of all ids. A copy continues independently.
class StreamDetokenizer {
 public:
  explicit StreamDetokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_control = true)
      : tokenizer_(std::move(tokenizer)), skip_control_(skip_control) {}

  // The whole UTF-8 characters that this token completes; often empty in the middle of an emoji.
  // Invalid bytes become U+FFFD.
  std::string Append(int32_t id);

  // What is left at the end: U+FFFD for an unfinished character, otherwise nothing.
  std::string Flush();

  // Bytes held back until the character is complete (0 to 3).
  size_t pending_bytes() const { return decoder_.pending(); }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  Utf8Decoder decoder_;
  bool skip_control_;
};

}  // namespace weft
