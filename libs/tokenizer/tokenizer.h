// Text to token ids and back, from the metadata of a GGUF file: byte-level BPE, SentencePiece BPE
// and unigram. Folders of Hugging Face become such metadata first (huggingface.h).
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "libs/tokenizer/marked_text.h"

namespace weft {

class GgufFile;
class SpecialTokens;
class TextEncoder;

struct EncodeOptions {
  bool add_special = true;  // begin-of-sequence (and end) where the model asks for it
  bool parse_special =
      false;  // text like <|im_end|> becomes the control token; never for user text
  // With parse_special: where it is user text all the same (ascending, disjoint). No control token
  // is found that has a byte in there; the text is otherwise encoded as a whole, without seams.
  std::span<const TextRange> literal = {};
  // The text goes on after another: SentencePiece's kinds put no space before its first word.
  bool continues = false;
};

// Immutable, thread safe. Holds copies of what it needs: the GgufFile may go away.
class Tokenizer {
 public:
  // UNIMPLEMENTED for a tokenizer.ggml.model or tokenizer.ggml.pre that is not supported,
  // INVALID_ARGUMENT for metadata that contradicts itself; both name the key.
  static absl::StatusOr<std::shared_ptr<const Tokenizer>> FromGguf(const GgufFile& file);
  ~Tokenizer();

  // Any bytes are accepted: invalid UTF-8 becomes the tokens of its bytes where the vocabulary has
  // them, else the unknown token. Near-linear in the size of the text. User-defined tokens (GGUF
  // type 4) are always found, control tokens only with parse_special.
  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options = {}) const;

  // No encoding of `bytes` bytes has fewer tokens than this (bytes that the vocabulary lacks, and
  // that are left out, apart): a cheap refusal of a prompt that cannot fit the context.
  size_t MinTokens(size_t bytes) const {
    return longest_token_ == 0 ? 0 : (bytes + longest_token_ - 1) / longest_token_;
  }

  // A whole text: the space that SentencePiece put before its first word is left out again. Invalid
  // UTF-8 becomes U+FFFD, as in Python's bytes.decode(errors="replace") or, of SentencePiece's
  // kinds, one for each byte, as there. Ids outside the vocabulary are skipped.
  std::string Decode(std::span<const int32_t> ids, bool skip_control = true) const;

  // What Decode does at the beginning of a text and with invalid UTF-8.
  bool puts_space_first() const { return puts_space_first_; }
  bool removes_extra_spaces() const { return removes_extra_spaces_; }
  bool repairs_each_byte() const { return repairs_each_byte_; }

  // The bytes that a token stands for (of a control token: its text), possibly part of a UTF-8
  // character. Empty for an id outside the vocabulary.
  std::string_view TokenBytes(int32_t id) const;
  bool IsValid(int32_t id) const { return id >= 0 && id < vocab_size(); }
  bool IsControl(int32_t id) const;  // begin and end markers and the like: not part of the text

  // The id of the token that is spelled `text` in the vocabulary ("<|im_end|>"), or -1.
  int32_t FindToken(std::string_view text) const;

  int32_t bos() const { return bos_; }  // -1 when the model has none
  int32_t eos() const { return eos_; }  // -1 when the model has none
  bool adds_bos() const { return add_bos_; }
  // eos, end of turn, end of message ...: generation stops at any of them. Sorted.
  const std::vector<int32_t>& end_of_generation_ids() const { return end_of_generation_; }
  bool IsEndOfGeneration(int32_t id) const;
  int32_t vocab_size() const { return static_cast<int32_t>(token_ends_.size()); }
  const std::string& chat_template() const { return chat_template_; }  // empty when there is none

 private:
  friend class TokenizerLoader;
  Tokenizer();

  std::string token_bytes_;           // all tokens, one after the other
  std::vector<uint32_t> token_ends_;  // [vocab] end of each in token_bytes_
  std::vector<uint8_t> is_control_;   // [vocab]
  std::vector<uint8_t> strips_;       // [vocab] 1: white space before it, 2: after it; may be empty
  size_t longest_token_ = 1;          // bytes of text, at most; 0: no bound
  bool puts_space_first_ = false;
  bool removes_extra_spaces_ = false;
  bool repairs_each_byte_ = false;
  std::unique_ptr<TextEncoder> encoder_;
  std::unique_ptr<SpecialTokens> control_and_user_;  // found with parse_special
  std::unique_ptr<SpecialTokens> user_;              // found always
  std::unordered_map<std::string, int32_t> named_;   // control and user-defined tokens by text
  int32_t bos_ = -1;
  int32_t eos_ = -1;
  bool add_bos_ = false;
  bool add_eos_ = false;
  std::vector<int32_t> end_of_generation_;
  std::string chat_template_;
};

}  // namespace weft
