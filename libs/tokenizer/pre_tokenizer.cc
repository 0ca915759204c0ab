#include "libs/tokenizer/pre_tokenizer.h"

#include <array>
#include <iterator>

#include "libs/tokenizer/unicode.h"
#include "libs/tokenizer/utf8.h"

namespace weft {
namespace {

using unicode::kDigitStep;
using unicode::kLetter;
using unicode::kNumber;
using unicode::kPunctuation;
using unicode::kSpace;

struct Char {
  uint32_t code_point;
  uint32_t length;
  uint8_t classes;
  bool Is(uint8_t any_of) const { return (classes & any_of) != 0; }
  // The complement class [^\s\p{L}\p{N}]; also of an invalid byte.
  bool IsOther() const { return !Is(kSpace | kLetter | kNumber); }
  bool IsNewline() const { return code_point == '\n' || code_point == '\r'; }
};

const std::array<uint8_t, 128>& AsciiClasses() {
  static const std::array<uint8_t, 128> table = [] {
    std::array<uint8_t, 128> out{};
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
  size_t RunOf(size_t at, uint8_t classes) const {
    return Run(at, [classes](const Char& c) { return c.Is(classes); });
  }

  void Emit(size_t end) { ends_.push_back(end); }

 private:
  std::string_view text_;
  const uint8_t* ascii_;
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

// 's 't 're 've 'm 'll 'd after an apostrophe at `at`. With fold_case also in capitals, where
// U+017F, the long s, folds to s.
size_t MatchContraction(const Scanner& s, size_t at, bool fold_case) {
  const auto letter = [&](size_t where) -> uint32_t {
    if (s.AtEnd(where)) return 0;
    const uint32_t c = s.At(where).code_point;
    if (!fold_case) return c;
    if (c >= 'A' && c <= 'Z') return c + 32;
    return c == 0x17F ? 's' : c;
  };
  const uint32_t first = letter(at + 1);
  if (first == 's') return at + 1 + s.At(at + 1).length;
  if (first == 't' || first == 'm' || first == 'd') return at + 2;
  const uint32_t second = first < 0x80 ? letter(at + 2) : 0;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
      (first == 'l' && second == 'l')) {
    return at + 3;
  }
  return at;
}

// \s+(?!\S)|\s+ : white space up to the end of the range, or up to its own last character, which
// is left to begin the next piece.
size_t MatchSpaces(const Scanner& s, size_t at) {
  size_t last = at;
  size_t end = at;
  while (!s.AtEnd(end)) {
    const Char c = s.At(end);
    if (!c.Is(kSpace)) break;
    last = end;
    end += c.length;
  }
  return s.AtEnd(end) || last == at ? end : last;
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
void Gpt2(Scanner& s, size_t begin) {
  for (size_t at = begin; !s.AtEnd(at);) {
    Char c = s.At(at);
    if (c.code_point == '\'') {
      if (const size_t end = MatchContraction(s, at, false); end != at) {
        s.Emit(at = end);
        continue;
      }
    }
    size_t word = at;
    if (c.code_point == ' ' && !s.AtEnd(at + 1)) c = s.At(word = at + 1);
    if (c.Is(kLetter)) {
      at = s.RunOf(word, kLetter);
    } else if (c.Is(kNumber)) {
      at = s.RunOf(word, kNumber);
    } else if (!c.Is(kSpace)) {
      at = s.Run(word, [](const Char& x) { return x.IsOther(); });
    } else {
      at = MatchSpaces(s, at);
    }
    s.Emit(at);
  }
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
// |\s*[\r\n]+|\s+(?!\S)|\s+       with at most `digits` in a number: 3 for Llama 3, 1 for Qwen 2
void Llama3(Scanner& s, size_t begin, int digits) {
  for (size_t at = begin; !s.AtEnd(at);) {
    const Char c = s.At(at);
    if (c.code_point == '\'') {
      if (const size_t end = MatchContraction(s, at, true); end != at) {
        s.Emit(at = end);
        continue;
      }
    }
    if (c.Is(kLetter)) {
      s.Emit(at = s.RunOf(at, kLetter));
      continue;
    }
    const size_t next = at + c.length;
    if (!c.IsNewline() && !c.Is(kNumber) && !s.AtEnd(next) && s.At(next).Is(kLetter)) {
      s.Emit(at = s.RunOf(next, kLetter));
      continue;
    }
    if (c.Is(kNumber)) {
      at = next;
      for (int i = 1; i < digits && !s.AtEnd(at) && s.At(at).Is(kNumber); ++i) {
        at += s.At(at).length;
      }
      s.Emit(at);
      continue;
    }
    const size_t word = c.code_point == ' ' && !s.AtEnd(next) ? next : at;
    if (s.At(word).IsOther()) {
      at = s.Run(word, [](const Char& x) { return x.IsOther(); });
      s.Emit(at = s.Run(at, [](const Char& x) { return x.IsNewline(); }));
      continue;
    }
    // White space: \s*[\r\n]+ ends after the last line break of the run.
    size_t after_newline = at;
    for (size_t i = at; !s.AtEnd(i);) {
      const Char x = s.At(i);
      if (!x.Is(kSpace)) break;
      i += x.length;
      if (x.IsNewline()) after_newline = i;
    }
    at = after_newline != at ? after_newline : MatchSpaces(s, at);
    s.Emit(at);
  }
}

// \s?[class]+
size_t MatchSpacedRun(const Scanner& s, size_t at, uint8_t classes) {
  const Char c = s.At(at);
  if (c.Is(classes)) return s.RunOf(at, classes);
  const size_t next = at + c.length;
  if (c.Is(kSpace) && !s.AtEnd(next) && s.At(next).Is(classes)) return s.RunOf(next, classes);
  return at;
}

// Passes: each splits the pieces that the one before it left.

void EachDigit(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) {
    const Char c = s.At(at);
    return c.Is(kDigitStep) ? at + c.length : at;
  });
}

void EachNewline(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) { return s.At(at).IsNewline() ? at + 1 : at; });
}

void SpacedLetters(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) { return MatchSpacedRun(s, at, kLetter); });
}

void SpacedPunctuation(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) { return MatchSpacedRun(s, at, kPunctuation); });
}

// [U+4E00-U+9FA5 U+0800-U+4E00 U+AC00-U+D7FF]+
void CjkRuns(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) {
    return s.Run(at, [](const Char& c) {
      return (c.code_point >= 0x800 && c.code_point <= 0x9FA5) ||
             (c.code_point >= 0xAC00 && c.code_point <= 0xD7FF);
    });
  });
}

// [\p{P}\$\+<=>\^~\|]+
void PunctuationRuns(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) {
    return s.Run(at, [](const Char& c) {
      return c.Is(kPunctuation) ||
             (c.code_point < 0x80 &&
              std::string_view("$+<=>^~|").find(static_cast<char>(c.code_point)) !=
                  std::string_view::npos);
    });
  });
}

void NumberRuns(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) { return s.RunOf(at, kNumber); });
}

// [0-9][0-9][0-9]
void ThreeDigits(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) {
    size_t end = at;
    for (int i = 0; i < 3; ++i, ++end) {
      if (s.AtEnd(end)) return at;
      const Char c = s.At(end);
      if (c.code_point < '0' || c.code_point > '9') return at;
    }
    return end;
  });
}

void ThreeDigitLlama3(Scanner& s, size_t begin) { Llama3(s, begin, 3); }
void OneDigitLlama3(Scanner& s, size_t begin) { Llama3(s, begin, 1); }

using Pass = void (*)(Scanner&, size_t);

struct Named {
  std::string_view name;
  PreTokenizer kind;
};
constexpr Named kNames[] = {
    {"default", PreTokenizer::kGgufDefault},
    {"gpt-2", PreTokenizer::kGpt2},
    {"gpt2", PreTokenizer::kGpt2},
    {"phi-2", PreTokenizer::kGpt2},
    {"mpt", PreTokenizer::kGpt2},
    {"olmo", PreTokenizer::kGpt2},
    {"smollm", PreTokenizer::kStarcoder},
    {"starcoder", PreTokenizer::kStarcoder},
    {"refact", PreTokenizer::kStarcoder},
    {"codeshell", PreTokenizer::kStarcoder},
    {"llama-bpe", PreTokenizer::kLlama3},
    {"llama3", PreTokenizer::kLlama3},
    {"llama-v3", PreTokenizer::kLlama3},
    {"qwen2", PreTokenizer::kQwen2},
    {"deepseek-r1-qwen", PreTokenizer::kQwen2},
    {"deepseek-coder", PreTokenizer::kDeepseekCoder},
};

std::vector<Pass> PassesOf(PreTokenizer kind) {
  switch (kind) {
    case PreTokenizer::kGpt2:
      return {Gpt2};
    case PreTokenizer::kStarcoder:
      return {EachDigit, Gpt2};
    case PreTokenizer::kGgufDefault:
      return {PunctuationRuns, Gpt2, NumberRuns, ThreeDigits};
    case PreTokenizer::kLlama3:
      return {ThreeDigitLlama3};
    case PreTokenizer::kQwen2:
      return {OneDigitLlama3};
    case PreTokenizer::kDeepseekCoder:
      return {EachNewline, SpacedLetters, SpacedPunctuation, CjkRuns, EachDigit};
  }
  return {};
}

}  // namespace

std::optional<PreTokenizer> PreTokenizerByName(std::string_view name) {
  for (const Named& named : kNames) {
    if (named.name == name) return named.kind;
  }
  return std::nullopt;
}

std::string SupportedPreTokenizers() {
  std::string out;
  for (const Named& named : kNames) {
    if (!out.empty()) out += ", ";
    out += named.name;
  }
  return out;
}

void SplitPieces(PreTokenizer kind, std::string_view text, std::vector<size_t>& ends) {
  ends.clear();
  if (text.empty()) return;
  ends.push_back(text.size());
  std::vector<size_t> before;
  for (const Pass pass : PassesOf(kind)) {
    before.swap(ends);
    ends.clear();
    ends.reserve(before.size() + text.size() / 8);
    size_t begin = 0;
    for (const size_t end : before) {
      Scanner scanner(text, end, ends);
      pass(scanner, begin);
      begin = end;
    }
  }
}

}  // namespace weft
