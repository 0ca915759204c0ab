// What SentencePiece's two models share: the vocabulary as they see it, and what becomes of
// characters that it lacks.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/tokenizer/spaces.h"
#include "libs/tokenizer/text_normalizer.h"
#include "libs/tokenizer/tokenizer_metadata.h"

namespace weft {

struct SentencePieceVocab {
  std::vector<std::string> texts;  // [vocab] U+2581 read as a space
  std::vector<TokenKind> kinds;    // [vocab]
  std::vector<double> scores;      // [vocab]
  int32_t unknown = -1;            // -1: characters without a token are left out
  SpaceRules spaces;
  TextNormalizer normalizer;
};

// The tokens of text that is no token: one for each byte when the vocabulary has all of those, else
// one unknown token for a whole run.
class UnknownText {
 public:
  explicit UnknownText(const SentencePieceVocab& vocab);
  // `after_unknown`: what was appended last was an unknown token. Returns whether it is so now.
  bool Append(std::string_view bytes, bool after_unknown, std::vector<int32_t>& out) const;

 private:
  int32_t byte_tokens_[256];
  bool has_all_bytes_ = true;
  int32_t unknown_;
};

// <0x41> and the like; -1 for any other name.
int ByteOfName(std::string_view name);

}  // namespace weft
