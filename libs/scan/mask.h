// Hides secrets in text that is shown to people: logs, findings, audit rows.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/scan/regex.h"

namespace weft::scan {

class RuleSet;

// Byte ranges [begin, end) of a text.
using Ranges = std::vector<std::pair<size_t, size_t>>;

// `text` without its ranges: of each, only the first few bytes stay, then "********". Ranges may
// overlap and come in any order.
std::string Mask(std::string_view text, Ranges ranges);

// Where any rule that has something to hide matches in `text`, judged by `text` alone. `cut`: text
// was taken out of a longer one, so a secret that begins in it and does not end is hidden as well.
Ranges SecretRanges(const RuleSet& rules, std::string_view text, bool cut, Regex::Scratch& scratch);

}  // namespace weft::scan
