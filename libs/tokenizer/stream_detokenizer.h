// Tokens to text while they arrive.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "libs/tokenizer/tokenizer.h"
#include "libs/tokenizer/utf8.h"

namespace weft {

struct DetokenizeOptions {
  bool skip_control = true;
  // The tokens begin a text, so that the space which SentencePiece puts before the first word is
  // none of it. What continues a prompt keeps it.
  bool begins_text = false;
};

// One sequence; not thread safe; the tokenizer must outlive it. A copy continues independently.
class TokenDecoder {
 public:
  TokenDecoder(const Tokenizer& tokenizer, DetokenizeOptions options)
      : tokenizer_(&tokenizer),
        decoder_(tokenizer.repairs_each_byte()),
        skip_control_(options.skip_control),
        drops_space_(options.begins_text && tokenizer.puts_space_first()) {}

  // Appends the whole UTF-8 characters that this token completes; often none in the middle of an
  // emoji. Invalid bytes become U+FFFD.
  void Append(int32_t id, std::string& out);

  // Appends what is left at the end: U+FFFD for an unfinished character, otherwise nothing.
  void Flush(std::string& out) { decoder_.Flush(out); }

  // Bytes held back until the character is complete (0 to 3).
  size_t pending_bytes() const { return decoder_.pending(); }

 private:
  const Tokenizer* tokenizer_;
  Utf8Decoder decoder_;
  bool skip_control_;
  bool drops_space_;  // nothing was appended yet
};

// The same, keeping its tokenizer alive. With begins_text, the concatenation of all Append results
// and Flush is Tokenizer::Decode of all ids.
class StreamDetokenizer {
 public:
  explicit StreamDetokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_control = true,
                             bool begins_text = false)
      : tokenizer_(std::move(tokenizer)),
        stream_(*tokenizer_, {.skip_control = skip_control, .begins_text = begins_text}) {}

  std::string Append(int32_t id) {
    std::string out;
    stream_.Append(id, out);
    return out;
  }
  std::string Flush() {
    std::string out;
    stream_.Flush(out);
    return out;
  }
  size_t pending_bytes() const { return stream_.pending_bytes(); }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  TokenDecoder stream_;
};

}  // namespace weft
