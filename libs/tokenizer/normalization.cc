// Unicode normalization forms (UAX 15).
#include "libs/tokenizer/normalization.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "libs/tokenizer/unicode.h"
#include "libs/tokenizer/utf8.h"

namespace weft::unicode {
namespace {

struct Decomposition {  // complete, in UTF-8
  uint32_t code_point;
  const char* to;
};
struct Composition {
  uint32_t first;
  uint32_t second;
  uint32_t to;
};
struct CombiningRun {
  uint32_t first;
  uint32_t last;
  uint8_t combining_class;
};

#include "libs/tokenizer/normalization_data.inc"

// Hangul syllables are composed by arithmetic (Unicode 3.12).
constexpr uint32_t kSyllables = 0xAC00;
constexpr uint32_t kLeads = 0x1100;
constexpr uint32_t kVowels = 0x1161;
constexpr uint32_t kTails = 0x11A7;
constexpr uint32_t kLeadCount = 19;
constexpr uint32_t kVowelCount = 21;
constexpr uint32_t kTailCount = 28;
constexpr uint32_t kSyllableCount = kLeadCount * kVowelCount * kTailCount;

// Everything below is its own normal form, alone and after anything but itself.
constexpr uint32_t kFirstThatMatters = 0x300;

struct Part {
  uint32_t code_point;
  uint8_t combining_class;
};

uint8_t CombiningClass(uint32_t c) {
  const auto run =
      std::upper_bound(std::begin(kCombiningRuns), std::end(kCombiningRuns), c,
                       [](uint32_t wanted, const CombiningRun& r) { return wanted < r.first; });
  if (run == std::begin(kCombiningRuns) || c > std::prev(run)->last) return 0;
  return std::prev(run)->combining_class;
}

template <size_t kSize>
const char* FindIn(const Decomposition (&table)[kSize], uint32_t c) {
  const auto it = std::lower_bound(
      std::begin(table), std::end(table), c,
      [](const Decomposition& d, uint32_t wanted) { return d.code_point < wanted; });
  return it == std::end(table) || it->code_point != c ? nullptr : it->to;
}

void AppendDecomposed(std::vector<Part>& out, uint32_t c, bool compatibility) {
  if (c >= kSyllables && c < kSyllables + kSyllableCount) {
    const uint32_t index = c - kSyllables;
    out.push_back({kLeads + index / (kVowelCount * kTailCount), 0});
    out.push_back({kVowels + index % (kVowelCount * kTailCount) / kTailCount, 0});
    if (index % kTailCount != 0) out.push_back({kTails + index % kTailCount, 0});
    return;
  }
  const char* found = compatibility ? FindIn(kCompatibility, c) : nullptr;
  if (found == nullptr) found = FindIn(kDecompositions, c);
  if (found == nullptr) {
    out.push_back({c, CombiningClass(c)});
    return;
  }
  const std::string_view to = found;
  for (size_t at = 0; at < to.size();) {
    const Utf8Char part = DecodeUtf8(to, at);
    out.push_back({part.code_point, CombiningClass(part.code_point)});
    at += part.length;
  }
}

// The primary composite of two characters, or 0.
uint32_t Compose(uint32_t first, uint32_t second) {
  if (first >= kLeads && first < kLeads + kLeadCount && second >= kVowels &&
      second < kVowels + kVowelCount) {
    return kSyllables + ((first - kLeads) * kVowelCount + (second - kVowels)) * kTailCount;
  }
  if (first >= kSyllables && first < kSyllables + kSyllableCount &&
      (first - kSyllables) % kTailCount == 0 && second > kTails && second < kTails + kTailCount) {
    return first + (second - kTails);
  }
  const auto it =
      std::lower_bound(std::begin(kCompositions), std::end(kCompositions), std::pair(first, second),
                       [](const Composition& c, const std::pair<uint32_t, uint32_t>& wanted) {
                         return std::pair(c.first, c.second) < wanted;
                       });
  if (it == std::end(kCompositions) || it->first != first || it->second != second) return 0;
  return it->to;
}

// Canonical ordering: marks after a starter are sorted by class, equal ones stay as they are.
void Reorder(std::vector<Part>& parts) {
  for (size_t begin = 0; begin < parts.size();) {
    if (parts[begin].combining_class == 0) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < parts.size() && parts[end].combining_class != 0) ++end;
    std::stable_sort(
        parts.begin() + static_cast<ptrdiff_t>(begin), parts.begin() + static_cast<ptrdiff_t>(end),
        [](const Part& a, const Part& b) { return a.combining_class < b.combining_class; });
    begin = end;
  }
}

void AppendComposed(std::string& out, const std::vector<Part>& parts) {
  std::vector<Part> done;
  size_t starter = parts.size();  // index in `done`; parts.size(): none yet
  for (const Part& part : parts) {
    if (starter < done.size()) {
      // Blocked when something between has the same or a higher class, or is a starter.
      const bool adjacent = starter + 1 == done.size();
      const uint8_t last = adjacent ? 0 : done.back().combining_class;
      const bool blocked = !adjacent && (last == 0 || last >= part.combining_class);
      if (!blocked) {
        if (const uint32_t composed = Compose(done[starter].code_point, part.code_point)) {
          done[starter].code_point = composed;
          continue;
        }
      }
    }
    if (part.combining_class == 0) starter = done.size();
    done.push_back(part);
  }
  for (const Part& part : done) AppendUtf8(out, part.code_point);
}

}  // namespace

std::string Normalize(std::string_view text, NormalForm form) {
  const bool compatibility = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const bool compose = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  std::string out;
  out.reserve(text.size());
  std::vector<Part> parts;
  const auto flush = [&] {
    Reorder(parts);
    if (compose) {
      AppendComposed(out, parts);
    } else {
      for (const Part& part : parts) AppendUtf8(out, part.code_point);
    }
    parts.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    if (c.code_point == Utf8Char::kInvalid) {
      flush();
      out.append(text, at, c.length);
    } else {
      // A plain character never composes with what is before it: the parts so far are final.
      if (c.code_point < kFirstThatMatters) flush();
      AppendDecomposed(parts, c.code_point, compatibility);
    }
    at += c.length;
  }
  flush();
  return out;
}

std::string Nfc(std::string_view text) { return Normalize(text, NormalForm::kNfc); }

}  // namespace weft::unicode
