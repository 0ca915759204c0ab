// One pass of a pre-tokeniser over one range of text: characters with their classes, runs of them,
// and the ends of pieces. Internal to the pre-tokenisers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "libs/tokenizer/unicode.h"
#include "libs/tokenizer/utf8.h"

namespace weft::pre_tokenizer {

struct Char {
  uint32_t code_point;
  uint32_t length;
  uint16_t classes;
  bool Is(uint16_t any_of) const { return (classes & any_of) != 0; }
  // The complement class [^\s\p{L}\p{N}]; also of an invalid byte.
  bool IsOther() const { return !Is(unicode::kSpace | unicode::kLetter | unicode::kNumber); }
  bool IsNewline() const { return code_point == '\n' || code_point == '\r'; }
};

inline const std::array<uint16_t, 128>& AsciiClasses() {
  static const std::array<uint16_t, 128> table = [] {
    std::array<uint16_t, 128> out{};
    for (uint32_t c = 0; c < 128; ++c) out[c] = unicode::ClassOf(c);
    return out;
  }();
  return table;
}

// One pass over one range. Positions are byte offsets into the whole text and always lie at the
// start of a character.
class Scanner {
 public:
  Scanner(std::string_view text, size_t end, std::vector<size_t>& ends)
      : text_(text.substr(0, end)), ascii_(AsciiClasses().data()), ends_(ends) {}

  size_t end() const { return text_.size(); }
  bool AtEnd(size_t at) const { return at >= text_.size(); }

  uint8_t ByteAt(size_t at) const { return static_cast<uint8_t>(text_[at]); }

  Char At(size_t at) const {
    const auto byte = static_cast<uint8_t>(text_[at]);
    if (byte < 0x80) return {byte, 1, ascii_[byte]};
    const Utf8Char c = DecodeUtf8(text_, at);
    return {c.code_point, c.length, unicode::ClassOf(c.code_point)};
  }

  // The end of the run of characters from `at` for which `test` holds.
  template <typename Test>
  size_t Run(size_t at, Test test) const {
    while (!AtEnd(at)) {
      const Char c = At(at);
      if (!test(c)) break;
      at += c.length;
    }
    return at;
  }
  size_t RunOf(size_t at, uint16_t classes) const {
    return Run(at, [classes](const Char& c) { return c.Is(classes); });
  }

  void Emit(size_t end) { ends_.push_back(end); }

 private:
  std::string_view text_;
  const uint16_t* ascii_;
  std::vector<size_t>& ends_;
};

// Tries `match` at every position: text before a match is a piece, the match is a piece. `match`
// returns the end of the match at a position, or the position itself.
template <typename Match>
void Isolate(Scanner& s, size_t begin, Match match) {
  size_t gap = begin;
  for (size_t at = begin; !s.AtEnd(at);) {
    const size_t end = match(at);
    if (end == at) {
      at += s.At(at).length;
      continue;
    }
    if (gap < at) s.Emit(at);
    s.Emit(end);
    gap = at = end;
  }
  if (gap < s.end()) s.Emit(s.end());
}

// \s+(?!\S)|\s+ : white space up to the end of the range, or up to its own last character, which
// is left to begin the next piece.
size_t MatchSpaces(const Scanner& s, size_t at);

// 's 't 're 've 'm 'll 'd after an apostrophe at `at`, or `at`. With fold_case also in capitals,
// where U+017F, the long s, folds to s.
size_t MatchContraction(const Scanner& s, size_t at, bool fold_case);

// The expressions that whole families share; each splits [begin, s.end()).
void Gpt2(Scanner& s, size_t begin);

struct Llama3Rules {
  int digits = 3;                          // at most, in a number
  uint16_t letters = unicode::kLetter;     // what a word consists of
  bool newlines_after_punctuation = true;  // [\r\n]* after a run of punctuation
};
void Llama3(Scanner& s, size_t begin, const Llama3Rules& rules);

struct CasedRules {
  int digits = 3;
  bool contractions = true;  // at the end of a word
};
void Cased(Scanner& s, size_t begin, const CasedRules& rules);

void DeepseekV3(Scanner& s, size_t begin);

}  // namespace weft::pre_tokenizer
