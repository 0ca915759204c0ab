#include "libs/scan/sanitize.h"

#include <algorithm>

#include "libs/base/status.h"
#include "libs/scan/compiled.h"
#include "libs/scan/policy.h"
#include "libs/scan/python_text.h"
#include "libs/scan/rule_set.h"

namespace weft::scan {
namespace {

absl::StatusOr<std::string> Without(const Regex& regex, const std::string& text,
                                    Regex::Scratch& scratch) {
  std::string out;
  size_t start = 0;
  while (start < text.size()) {
    const Regex::Match match = regex.Search(text, start, true, /*partial=*/false, 0, scratch);
    if (match.kind == Regex::Match::kGaveUp) {
      return ResourceExhausted("prompt: too costly to clean");
    }
    if (match.kind != Regex::Match::kFull) break;
    out.append(text, start, match.begin - start);
    start = match.end;
  }
  out.append(text, start);
  return out;
}

}  // namespace

absl::StatusOr<std::string> SanitizePrompt(const RuleSet& rules, std::string_view prompt,
                                           uint64_t max_characters,
                                           std::span<const std::string> keep) {
  const RuleSet::Compiled::Lease scratch(rules.compiled());
  std::string clean(prompt);
  for (size_t i = 0; i < rules.rules().size(); ++i) {
    const Rule& rule = rules.rules()[i];
    if (rule.category != Category::kPrompt) continue;
    if (std::find(keep.begin(), keep.end(), rule.id) != keep.end()) continue;
    WEFT_ASSIGN_OR_RETURN(clean, Without(rules.compiled().regexes[i], clean, (*scratch).regex));
  }
  const PromptLimit limit{.max_characters = max_characters, .over = OverLimit::kTruncate};
  WEFT_RETURN_IF_ERROR(ApplyLimit(limit, "prompt", clean));
  return std::string(PythonStrip(clean));
}

}  // namespace weft::scan
