#include "libs/scan/mask.h"

#include <algorithm>

#include "libs/scan/compiled.h"
#include "libs/scan/rule_set.h"

namespace weft::scan {
namespace {

constexpr std::string_view kStars = "********";
constexpr size_t kShownBytes = 4;    // of a secret; at most an eighth of it
constexpr size_t kMinCutSecret = 8;  // a shorter beginning of a secret gives nothing away

}  // namespace

std::string Mask(std::string_view text, Ranges ranges) {
  std::sort(ranges.begin(), ranges.end());
  std::string out;
  size_t next = 0;
  for (const auto& [begin, end] : ranges) {
    if (end <= next) continue;
    if (begin >= next) {
      size_t shown = std::min(kShownBytes, (end - begin) / 8);
      // Not within a UTF-8 character.
      while (shown > 0 && (static_cast<unsigned char>(text[begin + shown]) & 0xC0) == 0x80) --shown;
      out += text.substr(next, begin + shown - next);
      out += kStars;
    }
    next = end;
  }
  out += text.substr(next);
  return out;
}

Ranges SecretRanges(const RuleSet& rules, std::string_view text, bool cut,
                    Regex::Scratch& scratch) {
  Ranges ranges;
  const RuleSet::Compiled& compiled = rules.compiled();
  for (const uint32_t index : compiled.masking) {
    size_t start = 0;
    while (start < text.size()) {
      const Regex::Match match = compiled.regexes[index].Search(
          text, start, /*at_begin=*/true, cut, rules.rules()[index].group, scratch);
      if (match.kind == Regex::Match::kPartial) {
        if (text.size() - match.begin >= kMinCutSecret)
          ranges.emplace_back(match.begin, text.size());
        break;
      }
      if (match.kind != Regex::Match::kFull) break;
      ranges.emplace_back(match.group_begin, match.group_end);
      start = std::max(match.end, match.begin + 1);
    }
  }
  return ranges;
}

}  // namespace weft::scan
