#include "libs/tokenizer/pre_tokenizer_scan.h"

namespace weft::pre_tokenizer {
namespace {

using unicode::kLetter;
using unicode::kLower;
using unicode::kMark;
using unicode::kNumber;
using unicode::kPunctuation;
using unicode::kSpace;
using unicode::kSymbol;
using unicode::kUpper;

// \p{N}{1,digits} from a number at `at`.
size_t MatchNumber(const Scanner& s, size_t at, int digits) {
  for (int i = 0; i < digits && !s.AtEnd(at); ++i) {
    const Char c = s.At(at);
    if (!c.Is(kNumber)) break;
    at += c.length;
  }
  return at;
}

// The letters of `Cased`: [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] and [\p{Ll}\p{Lm}\p{Lo}\p{M}]. Letters
// without case and marks are in both.
bool IsUpperSide(const Char& c) { return c.Is(kLetter | kMark) && !c.Is(kLower); }
bool IsLowerSide(const Char& c) { return c.Is(kLetter | kMark) && !c.Is(kUpper); }

// [upper side]*[lower side]+ from `at`, or `at`.
size_t MatchEndingLower(const Scanner& s, size_t at) {
  size_t after_both = at;  // the end of the last character that is on both sides
  size_t end = at;
  while (!s.AtEnd(end)) {
    const Char c = s.At(end);
    if (!IsUpperSide(c)) break;
    end += c.length;
    if (!c.Is(kUpper)) after_both = end;
  }
  if (!s.AtEnd(end) && IsLowerSide(s.At(end))) return s.Run(end, IsLowerSide);
  return after_both;  // capitals are given back until the word can end on the lower side
}

// What most expressions say about white space last: \s*[\r\n]+|\s+(?!\S)|\s+
size_t MatchLinesAndSpaces(const Scanner& s, size_t at) {
  size_t after_newline = at;
  size_t last = at;
  size_t end = at;
  while (!s.AtEnd(end)) {
    const Char c = s.At(end);
    if (!c.Is(kSpace)) break;
    last = end;
    end += c.length;
    if (c.IsNewline()) after_newline = end;
  }
  if (after_newline != at) return after_newline;
  return s.AtEnd(end) || last == at ? end : last;
}

bool IsNewline(const Char& c) { return c.IsNewline(); }
bool IsNewlineOrSlash(const Char& c) { return c.IsNewline() || c.code_point == '/'; }
bool IsOther(const Char& c) { return c.IsOther(); }

}  // namespace

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
// |\s*[\r\n]+|\s+(?!\S)|\s+       where Qwen 3.5 puts marks beside the letters
void Llama3(Scanner& s, size_t begin, const Llama3Rules& rules) {
  const uint16_t letters = rules.letters;
  const auto is_other = [letters](const Char& x) { return !x.Is(kSpace | kNumber | letters); };
  for (size_t at = begin; !s.AtEnd(at);) {
    const Char c = s.At(at);
    if (c.code_point == '\'') {
      if (const size_t end = MatchContraction(s, at, true); end != at) {
        s.Emit(at = end);
        continue;
      }
    }
    const size_t next = at + c.length;
    if (c.Is(letters)) {
      at = s.RunOf(next, letters);
    } else if (!c.IsNewline() && !c.Is(kNumber) && !s.AtEnd(next) && s.At(next).Is(letters)) {
      at = s.RunOf(next, letters);
    } else if (c.Is(kNumber)) {
      at = MatchNumber(s, at, rules.digits);
    } else if (const size_t word = c.code_point == ' ' && !s.AtEnd(next) ? next : at;
               is_other(s.At(word))) {
      at = s.Run(word, is_other);
      if (rules.newlines_after_punctuation) at = s.Run(at, IsNewline);
    } else {
      at = MatchLinesAndSpaces(s, at);
    }
    s.Emit(at);
  }
}

// [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|...)?
// |[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|...)?
// |\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
void Cased(Scanner& s, size_t begin, const CasedRules& rules) {
  for (size_t at = begin; !s.AtEnd(at);) {
    const Char c = s.At(at);
    const size_t next = at + c.length;
    const bool is_prefix = !c.IsNewline() && !c.Is(kLetter | kNumber);
    size_t end = at;
    if (is_prefix) {
      end = MatchEndingLower(s, next);
      if (end == next) end = at;
    }
    if (end == at && c.Is(kLetter | kMark)) end = MatchEndingLower(s, at);
    if (end == at && is_prefix) {  // the second expression: no lower side can follow any more
      end = s.Run(next, IsUpperSide);
      if (end == next) end = at;
    }
    if (end == at && c.Is(kLetter)) end = s.Run(at, IsUpperSide);
    if (end != at) {
      if (rules.contractions && !s.AtEnd(end) && s.At(end).code_point == '\'') {
        end = MatchContraction(s, end, true);
      }
    } else if (c.Is(kNumber)) {
      end = MatchNumber(s, at, rules.digits);
    } else if (const size_t word = c.code_point == ' ' && !s.AtEnd(next) ? next : at;
               s.At(word).IsOther()) {
      end = s.Run(s.Run(word, IsOther), IsNewlineOrSlash);
    } else {
      end = MatchLinesAndSpaces(s, at);
    }
    s.Emit(at = end);
  }
}

// [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
// | ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+       numbers and controls are left over
void DeepseekV3(Scanner& s, size_t begin) {
  const auto is_ascii_letter = [](const Char& c) {
    return (c.code_point | 32) >= 'a' && (c.code_point | 32) <= 'z';
  };
  Isolate(s, begin, [&](size_t at) -> size_t {
    const Char c = s.At(at);
    const size_t next = at + c.length;
    const bool has_next = !s.AtEnd(next);
    if (c.code_point < 0x80 && c.Is(kPunctuation | kSymbol) && has_next &&
        is_ascii_letter(s.At(next))) {
      return s.Run(next, is_ascii_letter);
    }
    if (c.Is(kLetter | kMark)) return s.RunOf(next, kLetter | kMark);
    if (!c.IsNewline() && !c.Is(kPunctuation | kSymbol) && has_next &&
        s.At(next).Is(kLetter | kMark)) {
      return s.RunOf(next, kLetter | kMark);
    }
    const size_t word = c.code_point == ' ' && has_next ? next : at;
    if (s.At(word).Is(kPunctuation | kSymbol)) {
      return s.Run(s.RunOf(word, kPunctuation | kSymbol), IsNewline);
    }
    return c.Is(kSpace) ? MatchLinesAndSpaces(s, at) : at;
  });
}

}  // namespace weft::pre_tokenizer
