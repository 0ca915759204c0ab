// What to do about findings. Pure functions of a policy, a kind of text and findings: the scanner
// reports, the gateway evaluates.
#pragma once

#include <absl/status/status.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/scan/finding.h"

namespace weft::scan {

// In ascending order of consequence: the strongest action of several findings wins.
enum class Action : uint8_t {
  kOff,   // as if there were no finding
  kFlag,  // report it; the text passes
  // Remove what the prompt rules match and trim the prompt (SanitizePrompt). Only for findings of a
  // prompt rule in a prompt; elsewhere it is kRedact.
  kSanitize,
  kRedact,  // replace the finding's bytes by [REDACTED:type]; the rest passes
  kBlock,   // stop: refuse the prompt, end the output
};
std::string_view Name(Action action);
bool Parse(std::string_view name, Action& out);

// Matches a finding when every given field does. Later rules override earlier ones.
struct PolicyRule {
  std::optional<TextKind> kind = std::nullopt;
  std::optional<Category> category = std::nullopt;
  std::optional<Severity> min_severity = std::nullopt;
  std::string type = {};  // "shell_injection"; empty: any
  std::string rule = {};  // "python.os-system"; empty: any
  Action action = Action::kFlag;
};

struct Policy {
  // When no rule matches: by kind of text, then category. Prompts and outputs lose their secrets;
  // everything else is flagged.
  std::array<std::array<Action, 3>, kTextKinds> defaults = {{
      // code, prompt, secret
      {Action::kOff, Action::kFlag, Action::kRedact},  // of a prompt
      {Action::kFlag, Action::kOff, Action::kRedact},  // of an output
      {Action::kFlag, Action::kOff, Action::kFlag},    // of code
  }};
  std::vector<PolicyRule> rules;

  Action Default(TextKind kind, Category category) const {
    return defaults[static_cast<size_t>(kind)][static_cast<size_t>(category)];
  }
  // Names the rule at fault: at most 256 rules.
  absl::Status Validate() const;
};

Action Evaluate(const Policy& policy, TextKind kind, const Finding& finding);

// True when no finding of this kind of text could ever lead to more than `action`: with kFlag the
// gateway need not hold text back, with kOff it need not scan.
bool NeverBeyond(const Policy& policy, TextKind kind, Action action);

struct Decision {
  Action action = Action::kOff;      // the strongest
  std::optional<size_t> blocked_by;  // index of the first finding (by begin) that blocks
  std::vector<size_t> redact;        // indices of findings to redact, by begin
  std::vector<size_t> sanitize;      // indices of findings to remove by SanitizePrompt
  std::vector<size_t> flagged;       // indices of findings to report: all but those that are off
};

Decision Decide(const Policy& policy, TextKind kind, std::span<const Finding> findings);

// `text` is the part of a whole text that starts at byte `text_begin`. Replaces the bytes of each
// finding by [REDACTED:type]; ranges that overlap become one, named after the first, and findings
// that continue another one get no mark. A range that
// began before text_begin was replaced then: its rest is dropped without a second mark. Findings
// may come in any order.
std::string Redact(std::string_view text, uint64_t text_begin, std::span<const Finding> findings);

// Longer prompts (in characters, as UTF-8 code points) are refused, or cut there.
enum class OverLimit : uint8_t { kRefuse, kTruncate };

struct PromptLimit {
  uint64_t max_characters = 4096;
  OverLimit over = OverLimit::kRefuse;
};

uint64_t CountCharacters(std::string_view utf8);
// INVALID_ARGUMENT naming `field` when the prompt is too long and the limit refuses; else OK, with
// `prompt` cut to the limit.
absl::Status ApplyLimit(const PromptLimit& limit, std::string_view field, std::string& prompt);

}  // namespace weft::scan
