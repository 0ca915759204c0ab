#include "libs/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <iterator>

#include "libs/tokenizer/pre_tokenizer_scan.h"

namespace weft {
namespace {

using pre_tokenizer::Char;
using pre_tokenizer::Isolate;
using pre_tokenizer::Scanner;
using unicode::kDigitStep;
using unicode::kLetter;
using unicode::kMark;
using unicode::kNumber;
using unicode::kPunctuation;
using unicode::kSpace;

struct Range {
  uint32_t first;
  uint32_t last;
};
template <size_t kSize>
bool IsIn(const Range (&ranges)[kSize], uint32_t code_point) {
  const Range* after =
      std::upper_bound(std::begin(ranges), std::end(ranges), code_point,
                       [](uint32_t wanted, const Range& range) { return wanted < range.first; });
  return after != ranges && code_point <= (after - 1)->last;
}

// The letters that DeepSeek's first tokenizer names one by one, cased scripts of an older Unicode.
constexpr Range kDeepseekLetters[] = {
    {0x41, 0x5a},       {0x61, 0x7a},       {0xb5, 0xb5},       {0xc0, 0xd6},
    {0xd8, 0xf6},       {0xf8, 0x1ba},      {0x1bc, 0x1bf},     {0x1c4, 0x293},
    {0x295, 0x2af},     {0x370, 0x373},     {0x376, 0x376},     {0x377, 0x377},
    {0x37b, 0x37d},     {0x37f, 0x37f},     {0x386, 0x386},     {0x388, 0x38a},
    {0x38c, 0x38c},     {0x38e, 0x3a1},     {0x3a3, 0x3f5},     {0x3f7, 0x481},
    {0x48a, 0x52f},     {0x531, 0x556},     {0x10a0, 0x10c5},   {0x13a0, 0x13f5},
    {0x13f8, 0x13fd},   {0x1c90, 0x1cba},   {0x1cbd, 0x1cbf},   {0x1d00, 0x1d2b},
    {0x1d6b, 0x1d77},   {0x1d79, 0x1d9a},   {0x1e00, 0x1f15},   {0x1f18, 0x1f1d},
    {0x1f20, 0x1f45},   {0x1f48, 0x1f4d},   {0x1f50, 0x1f57},   {0x1f59, 0x1f59},
    {0x1f5b, 0x1f5b},   {0x1f5d, 0x1f5d},   {0x1f5f, 0x1f7d},   {0x1f80, 0x1fb4},
    {0x1fb6, 0x1fbc},   {0x1fbe, 0x1fbe},   {0x1fc2, 0x1fc4},   {0x1fc6, 0x1fcc},
    {0x1fd0, 0x1fd3},   {0x1fd6, 0x1fdb},   {0x1fe0, 0x1fec},   {0x1ff2, 0x1ff4},
    {0x1ff6, 0x1ffc},   {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210a, 0x2113},
    {0x2115, 0x2115},   {0x2119, 0x211d},   {0x2124, 0x2124},   {0x2126, 0x2126},
    {0x2128, 0x2128},   {0x212a, 0x212d},   {0x212f, 0x2134},   {0x2139, 0x2139},
    {0x213c, 0x213f},   {0x2145, 0x2149},   {0x214e, 0x214e},   {0x2183, 0x2183},
    {0x2184, 0x2184},   {0x2c00, 0x2c7b},   {0x2c7e, 0x2ce4},   {0x2ceb, 0x2cee},
    {0x2cf2, 0x2cf2},   {0x2cf3, 0x2cf3},   {0xa640, 0xa66d},   {0xa680, 0xa69b},
    {0xa722, 0xa76f},   {0xa771, 0xa787},   {0xa78b, 0xa78e},   {0xab70, 0xabbf},
    {0xfb00, 0xfb06},   {0xfb13, 0xfb17},   {0xff21, 0xff3a},   {0xff41, 0xff5a},
    {0x10400, 0x1044f}, {0x104b0, 0x104d3}, {0x104d8, 0x104fb}, {0x10c80, 0x10cb2},
    {0x10cc0, 0x10cf2}, {0x118a0, 0x118df}, {0x1e900, 0x1e943},
};
// [!-/:-~！-／：-～‘-‟　-。] of the same.
constexpr Range kDeepseekPunctuation[] = {
    {0x21, 0x2f},     {0x3a, 0x7e},     {0x2018, 0x201f},
    {0x3000, 0x3002}, {0xff01, 0xff0f}, {0xff1a, 0xff5e},
};

// \s?[class]+
template <typename Test>
size_t MatchSpacedRun(const Scanner& s, size_t at, Test test) {
  const Char c = s.At(at);
  const size_t next = at + c.length;
  if (test(c)) return s.Run(next, test);
  if (c.Is(kSpace) && !s.AtEnd(next) && test(s.At(next))) return s.Run(next, test);
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
  Isolate(s, begin, [&s](size_t at) {
    return MatchSpacedRun(s, at, [](const Char& c) { return c.Is(kLetter); });
  });
}

void SpacedPunctuation(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) {
    return MatchSpacedRun(s, at, [](const Char& c) { return c.Is(kPunctuation); });
  });
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

void DeepseekLetters(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) {
    return MatchSpacedRun(s, at,
                          [](const Char& c) { return IsIn(kDeepseekLetters, c.code_point); });
  });
}

void DeepseekPunctuation(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) {
    return MatchSpacedRun(s, at,
                          [](const Char& c) { return IsIn(kDeepseekPunctuation, c.code_point); });
  });
}

// \s+$
void TrailingSpaces(Scanner& s, size_t begin) {
  size_t spaces = s.end();  // where the run of white space that is being read began
  for (size_t at = begin; !s.AtEnd(at);) {
    const Char c = s.At(at);
    spaces = c.Is(kSpace) ? std::min(spaces, at) : s.end();
    at += c.length;
  }
  if (begin < spaces && spaces < s.end()) s.Emit(spaces);
  s.Emit(s.end());
}

// [一-龥぀-ゟ゠-ヿ]+
void HanAndKanaRuns(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) {
    return s.Run(at, [](const Char& c) {
      return (c.code_point >= 0x3040 && c.code_point <= 0x30FF) ||
             (c.code_point >= 0x4E00 && c.code_point <= 0x9FA5);
    });
  });
}

// \p{N}{1,3}
void NumberTriples(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) {
    for (int i = 0; i < 3 && !s.AtEnd(at); ++i) {
      const Char c = s.At(at);
      if (!c.Is(kNumber)) break;
      at += c.length;
    }
    return at;
  });
}

void PunctuationStep(Scanner& s, size_t begin) {
  Isolate(s, begin, [&s](size_t at) { return s.RunOf(at, unicode::kPunctuationStep); });
}

// 0-9 and the superscripts and fractions of Latin-1.
bool IsNumericByte(uint8_t b) {
  return (b >= '0' && b <= '9') || b == 0xB2 || b == 0xB3 || b == 0xB9 || (b >= 0xBC && b <= 0xBE);
}

// The Digits step after bytes were spelled as characters: bytes like 0xB2, that Latin-1 calls a
// number, count, even in the middle of a UTF-8 character.
void NumericBytes(Scanner& s, size_t begin) {
  size_t gap = begin;
  for (size_t at = begin; at < s.end();) {
    size_t end = at;
    while (end < s.end() && IsNumericByte(s.ByteAt(end))) ++end;
    if (end == at) {
      ++at;
      continue;
    }
    if (gap < at) s.Emit(at);
    s.Emit(end);
    gap = at = end;
  }
  if (gap < s.end()) s.Emit(s.end());
}

void Llama3(Scanner& s, size_t begin) { pre_tokenizer::Llama3(s, begin, {}); }
void Qwen2(Scanner& s, size_t begin) { pre_tokenizer::Llama3(s, begin, {.digits = 1}); }
void Qwen35(Scanner& s, size_t begin) {
  pre_tokenizer::Llama3(s, begin, {.digits = 1, .letters = kLetter | kMark});
}
void SeedCoder(Scanner& s, size_t begin) {
  pre_tokenizer::Llama3(s, begin, {.digits = 1, .newlines_after_punctuation = false});
}
void Gpt4o(Scanner& s, size_t begin) { pre_tokenizer::Cased(s, begin, {}); }
void Tekken(Scanner& s, size_t begin) {
  pre_tokenizer::Cased(s, begin, {.digits = 1, .contractions = false});
}

using Pass = void (*)(Scanner&, size_t);

std::vector<Pass> PassesOf(PreTokenizer kind) {
  switch (kind) {
    case PreTokenizer::kGpt2:
      return {pre_tokenizer::Gpt2};
    case PreTokenizer::kStarcoder:
      return {EachDigit, pre_tokenizer::Gpt2};
    case PreTokenizer::kGgufDefault:
      return {PunctuationRuns, pre_tokenizer::Gpt2, NumberRuns, ThreeDigits};
    case PreTokenizer::kLlama3:
      return {Llama3};
    case PreTokenizer::kQwen2:
      return {Qwen2};
    case PreTokenizer::kQwen35:
      return {Qwen35};
    case PreTokenizer::kSeedCoder:
      return {SeedCoder};
    case PreTokenizer::kDeepseekCoder:
      return {EachNewline, SpacedLetters, SpacedPunctuation, CjkRuns, EachDigit};
    case PreTokenizer::kDeepseekLlm:
      return {EachNewline,    DeepseekLetters, DeepseekPunctuation,
              TrailingSpaces, CjkRuns,         EachDigit};
    case PreTokenizer::kDeepseekV3:
      return {NumberTriples, HanAndKanaRuns, pre_tokenizer::DeepseekV3};
    case PreTokenizer::kFalcon:
      return {PunctuationStep, pre_tokenizer::Gpt2, NumericBytes, ThreeDigits};
    case PreTokenizer::kGpt4o:
      return {Gpt4o};
    case PreTokenizer::kTekken:
      return {Tekken};
  }
  return {};
}

struct Named {
  std::string_view name;
  PreTokenizerSpec spec;
};
constexpr Named kNames[] = {
    {"default", {.split = PreTokenizer::kGgufDefault}},
    {"gpt-2", {.split = PreTokenizer::kGpt2}},
    {"gpt2", {.split = PreTokenizer::kGpt2}},
    {"phi-2", {.split = PreTokenizer::kGpt2}},
    {"mpt", {.split = PreTokenizer::kGpt2, .nfc = true}},
    {"olmo", {.split = PreTokenizer::kGpt2, .nfc = true}},
    {"smollm", {.split = PreTokenizer::kStarcoder}},
    {"starcoder", {.split = PreTokenizer::kStarcoder}},
    {"refact", {.split = PreTokenizer::kStarcoder}},
    {"codeshell", {.split = PreTokenizer::kStarcoder}},
    {"command-r", {.split = PreTokenizer::kStarcoder, .nfc = true}},
    {"llama-bpe", {.split = PreTokenizer::kLlama3, .whole_pieces_first = true, .adds_bos = true}},
    {"llama3", {.split = PreTokenizer::kLlama3, .whole_pieces_first = true, .adds_bos = true}},
    {"llama-v3", {.split = PreTokenizer::kLlama3, .whole_pieces_first = true, .adds_bos = true}},
    {"smaug-bpe", {.split = PreTokenizer::kLlama3}},
    {"dbrx", {.split = PreTokenizer::kLlama3}},
    {"chatglm-bpe", {.split = PreTokenizer::kLlama3}},
    {"glm4", {.split = PreTokenizer::kLlama3}},
    {"qwen2", {.split = PreTokenizer::kQwen2, .nfc = true}},
    {"deepseek-r1-qwen", {.split = PreTokenizer::kQwen2, .nfc = true}},
    {"stablelm2", {.split = PreTokenizer::kQwen2}},
    {"qwen35", {.split = PreTokenizer::kQwen35, .nfc = true}},
    {"seed-coder", {.split = PreTokenizer::kSeedCoder}},
    {"deepseek-coder", {.split = PreTokenizer::kDeepseekCoder}},
    {"deepseek-llm", {.split = PreTokenizer::kDeepseekLlm}},
    {"deepseek-v3", {.split = PreTokenizer::kDeepseekV3}},
    {"falcon", {.split = PreTokenizer::kFalcon}},
    {"gpt-4o", {.split = PreTokenizer::kGpt4o}},
    {"llama4", {.split = PreTokenizer::kGpt4o}},
    {"tekken", {.split = PreTokenizer::kTekken, .whole_pieces_first = true, .adds_bos = true}},
};

}  // namespace

std::optional<PreTokenizerSpec> PreTokenizerByName(std::string_view name) {
  for (const Named& named : kNames) {
    if (named.name == name) return named.spec;
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
