#include "libs/tokenizer/unicode.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "libs/tokenizer/utf8.h"

namespace weft::unicode {
namespace {

struct ClassRun {  // up to the next run's first
  uint32_t first;
  uint16_t flags;
};
struct CaseRun {  // first, first + step, ... last map to themselves plus difference
  uint32_t first;
  uint32_t last;
  uint32_t step;
  int32_t difference;
};
struct CaseSpecial {  // maps to several characters
  uint32_t code_point;
  const char* to;
};

#include "libs/tokenizer/unicode_data.inc"

std::vector<uint16_t> ExpandClasses() {
  std::vector<uint16_t> out(0x110000);
  for (size_t i = 0; i < std::size(kClassRuns); ++i) {
    const uint32_t end = i + 1 < std::size(kClassRuns) ? kClassRuns[i + 1].first : 0x110000;
    std::fill(out.begin() + kClassRuns[i].first, out.begin() + end, kClassRuns[i].flags);
  }
  return out;
}

template <size_t kRuns, size_t kSpecials>
void AppendMapped(std::string& out, std::string_view text, const Utf8Char& c, size_t at,
                  const CaseRun (&runs)[kRuns], const CaseSpecial (&specials)[kSpecials]) {
  if (c.code_point == Utf8Char::kInvalid) {
    out.append(text.substr(at, c.length));
    return;
  }
  const auto special =
      std::lower_bound(std::begin(specials), std::end(specials), c.code_point,
                       [](const CaseSpecial& s, uint32_t wanted) { return s.code_point < wanted; });
  if (special != std::end(specials) && special->code_point == c.code_point) {
    out += special->to;
    return;
  }
  // Runs are sorted by their first; those of step 2 may interleave, so look at two.
  auto run = std::upper_bound(std::begin(runs), std::end(runs), c.code_point,
                              [](uint32_t wanted, const CaseRun& r) { return wanted < r.first; });
  for (int tries = 0; tries < 2 && run != std::begin(runs); ++tries) {
    --run;
    if (c.code_point <= run->last && (c.code_point - run->first) % run->step == 0) {
      AppendUtf8(out, static_cast<uint32_t>(static_cast<int32_t>(c.code_point) + run->difference));
      return;
    }
  }
  out.append(text.substr(at, c.length));
}

void AppendUpper(std::string& out, std::string_view text, const Utf8Char& c, size_t at) {
  AppendMapped(out, text, c, at, kUpperRuns, kUpperSpecials);
}
void AppendTitle(std::string& out, std::string_view text, const Utf8Char& c, size_t at) {
  AppendMapped(out, text, c, at, kTitleRuns, kTitleSpecials);
}

// A character that changes with case, as Python's "cased" property.
bool IsCased(std::string_view text, const Utf8Char& c, size_t at) {
  if (c.code_point < 0x80) {
    return (c.code_point >= 'a' && c.code_point <= 'z') ||
           (c.code_point >= 'A' && c.code_point <= 'Z');
  }
  std::string upper;
  std::string lower;
  AppendUpper(upper, text, c, at);
  AppendMapped(lower, text, c, at, kLowerRuns, kLowerSpecials);
  return upper != lower;
}

// A capital sigma at the end of a word has its own lower case (Unicode 3.13, Final_Sigma).
bool IsFinalSigma(std::string_view text, size_t at, bool cased_before) {
  if (!cased_before) return false;
  const size_t next = at + 2;
  if (next >= text.size()) return true;
  return !IsCased(text, DecodeUtf8(text, next), next);
}

void AppendLower(std::string& out, std::string_view text, const Utf8Char& c, size_t at,
                 bool cased_before) {
  if (c.code_point == 0x3A3) {
    AppendUtf8(out, IsFinalSigma(text, at, cased_before) ? 0x3C2 : 0x3C3);
    return;
  }
  AppendMapped(out, text, c, at, kLowerRuns, kLowerSpecials);
}

}  // namespace

uint16_t ClassOf(uint32_t code_point) {
  static const std::vector<uint16_t> classes = ExpandClasses();
  return code_point < 0x110000 ? classes[code_point] : 0;
}

std::string Upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    AppendUpper(out, text, c, at);
    at += c.length;
  }
  return out;
}

std::string Lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool cased = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    AppendLower(out, text, c, at, cased);
    cased = IsCased(text, c, at);
    at += c.length;
  }
  return out;
}

std::string Title(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool cased = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    if (cased) {
      AppendLower(out, text, c, at, cased);
    } else {
      AppendTitle(out, text, c, at);
    }
    cased = IsCased(text, c, at);
    at += c.length;
  }
  return out;
}

std::string Capitalize(std::string_view text) {
  if (text.empty()) return {};
  std::string out;
  const Utf8Char first = DecodeUtf8(text, 0);
  AppendTitle(out, text, first, 0);
  bool cased = IsCased(text, first, 0);
  for (size_t at = first.length; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    AppendLower(out, text, c, at, cased);
    cased = IsCased(text, c, at);
    at += c.length;
  }
  return out;
}

}  // namespace weft::unicode
