// What a tokenizer is made of, whatever file it was read from, and its form as GGUF metadata.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace weft {

// The values of tokenizer.ggml.token_type; SentencePiece's own numbers.
enum class TokenKind : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

// The fields are the metadata keys of the same names: tokenizer.ggml.* as GGUF defines them, and
// weft.tokenizer.* where it has no word. What is absent is left to the reader's default.
struct TokenizerMetadata {
  std::string model;  // "gpt2" (byte-level BPE), "llama" (SentencePiece BPE), "t5" (unigram)
  std::string pre;    // of gpt2
  std::vector<std::string> tokens;
  std::vector<int32_t> token_type;  // [tokens] TokenKind
  std::vector<double> scores;       // [tokens], of llama and t5
  std::vector<std::string> merges;  // "left right", first one first
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::optional<int32_t> unknown;
  std::optional<int32_t> padding;
  std::optional<bool> add_bos;
  std::optional<bool> add_eos;
  std::optional<bool> add_space_prefix;
  std::optional<bool> remove_extra_whitespaces;
  std::string precompiled_charsmap;  // SentencePiece's compiled normalisation rules
  std::string chat_template;

  // weft.tokenizer.normalizer: steps, in order, of "nfc", "nfd", "nfkc", "nfkd", "lowercase",
  // "strip_left", "strip_right", "precompiled", "prepend\x1fTEXT", "replace\x1fFROM\x1fTO".
  // When it is there, it is all that happens to text before it is split.
  std::optional<std::vector<std::string>> normalizer;
  std::optional<bool> whole_pieces_first;  // a piece that is a token is that token
  // Where a space is put: "first" before the text, "each" before each part of it that added tokens
  // leave; "first_if_missing" and "each_if_missing" unless the part begins with one. Without the
  // key, before the text and after each control token.
  std::string space_prefix;
  bool split_on_spaces = false;  // llama, t5: each space begins a piece of its own
  bool merges_by_rank = false;   // llama: merges decide, not scores
  bool double_scores =
      false;  // t5: scores and their sums in double precision, as Hugging Face has them
  std::vector<int32_t> strip_left;   // tokens that swallow the white space before them in text
  std::vector<int32_t> strip_right;  // ... after them
  std::vector<int32_t> end_ids;      // more tokens that end a generation

  // A GGUF file without tensors.
  std::string ToGguf() const;
};

}  // namespace weft
