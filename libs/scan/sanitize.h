// Removes from a prompt what the prompt rules match: the mode in which a prompt is cleaned instead
// of being flagged or refused.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace weft::scan {

class RuleSet;

// Every prompt rule in turn is removed wherever it matches (so that the rules after it see what a
// removal joins), however long the match; then the prompt is cut to `max_characters` and trimmed.
// Rules whose id is in `keep` are left out. RESOURCE_EXHAUSTED when the prompt is built to make
// matching slow. Thread safe.
absl::StatusOr<std::string> SanitizePrompt(const RuleSet& rules, std::string_view prompt,
                                           uint64_t max_characters = 4096,
                                           std::span<const std::string> keep = {});

}  // namespace weft::scan
