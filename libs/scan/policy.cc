#include "libs/scan/policy.h"

#include <absl/status/status.h>
#include <fmt/format.h>

#include <algorithm>

#include "libs/base/status.h"

namespace weft::scan {
namespace {

constexpr std::array<std::string_view, 5> kActionNames = {"off", "flag", "sanitize", "redact",
                                                          "block"};
constexpr size_t kMaxPolicyRules = 256;

bool Matches(const PolicyRule& rule, TextKind kind, const Finding& finding) {
  return (!rule.kind || *rule.kind == kind) &&
         (!rule.category || *rule.category == finding.category) &&
         (!rule.min_severity || finding.severity >= *rule.min_severity) &&
         (rule.type.empty() || rule.type == finding.type) &&
         (rule.rule.empty() || rule.rule == finding.rule);
}

bool StartsCharacter(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

}  // namespace

std::string_view Name(Action action) { return kActionNames[static_cast<size_t>(action)]; }

bool Parse(std::string_view name, Action& out) {
  const auto it = std::find(kActionNames.begin(), kActionNames.end(), name);
  if (it == kActionNames.end()) return false;
  out = static_cast<Action>(it - kActionNames.begin());
  return true;
}

absl::Status Policy::Validate() const {
  if (rules.size() > kMaxPolicyRules) {
    return InvalidArgument("rules: {} entries, at most {} are allowed", rules.size(),
                           kMaxPolicyRules);
  }
  return absl::OkStatus();
}

Action Evaluate(const Policy& policy, TextKind kind, const Finding& finding) {
  const auto rule = std::find_if(policy.rules.rbegin(), policy.rules.rend(),
                                 [&](const PolicyRule& r) { return Matches(r, kind, finding); });
  const Action action =
      rule != policy.rules.rend() ? rule->action : policy.Default(kind, finding.category);
  const bool can_sanitize = kind == TextKind::kPrompt && finding.category == Category::kPrompt;
  return action == Action::kSanitize && !can_sanitize ? Action::kRedact : action;
}

bool NeverBeyond(const Policy& policy, TextKind kind, Action action) {
  for (const PolicyRule& rule : policy.rules) {
    if ((!rule.kind || *rule.kind == kind) && rule.action > action) return false;
  }
  const auto& defaults = policy.defaults[static_cast<size_t>(kind)];
  return std::all_of(defaults.begin(), defaults.end(), [&](Action a) { return a <= action; });
}

Decision Decide(const Policy& policy, TextKind kind, std::span<const Finding> findings) {
  Decision decision;
  const auto begins_before = [&](size_t a, size_t b) {
    return findings[a].begin < findings[b].begin;
  };
  for (size_t i = 0; i < findings.size(); ++i) {
    const Action action = Evaluate(policy, kind, findings[i]);
    decision.action = std::max(decision.action, action);
    if (action == Action::kOff) continue;
    decision.flagged.push_back(i);
    if (action == Action::kRedact) decision.redact.push_back(i);
    if (action == Action::kSanitize) decision.sanitize.push_back(i);
    if (action == Action::kBlock &&
        (!decision.blocked_by || begins_before(i, *decision.blocked_by))) {
      decision.blocked_by = i;
    }
  }
  std::stable_sort(decision.redact.begin(), decision.redact.end(), begins_before);
  return decision;
}

std::string Redact(std::string_view text, uint64_t text_begin, std::span<const Finding> findings) {
  std::vector<const Finding*> order;
  const uint64_t text_end = text_begin + text.size();
  for (const Finding& finding : findings) {
    if (finding.begin < text_end && finding.end > text_begin && finding.begin < finding.end) {
      order.push_back(&finding);
    }
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const Finding* a, const Finding* b) { return a->begin < b->begin; });
  std::string out;
  out.reserve(text.size());
  uint64_t next = text_begin;  // text before it is written or dropped
  uint64_t hidden = 0;         // bytes before it belong to a range that has its mark
  for (const Finding* finding : order) {
    if (finding->begin >= hidden && finding->begin >= text_begin) {
      if (finding->begin > next) out += text.substr(next - text_begin, finding->begin - next);
      if (!finding->continues())
        fmt::format_to(std::back_inserter(out), "[REDACTED:{}]", finding->type);
    }
    hidden = std::max(hidden, finding->end);
    next = std::max(next, std::min(hidden, text_end));
  }
  out += text.substr(next - text_begin);
  return out;
}

uint64_t CountCharacters(std::string_view utf8) {
  return static_cast<uint64_t>(std::count_if(utf8.begin(), utf8.end(), StartsCharacter));
}

absl::Status ApplyLimit(const PromptLimit& limit, std::string_view field, std::string& prompt) {
  if (prompt.size() <= limit.max_characters) return absl::OkStatus();
  uint64_t characters = 0;
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (!StartsCharacter(prompt[i])) continue;
    if (++characters <= limit.max_characters) continue;
    if (limit.over == OverLimit::kTruncate) {
      prompt.resize(i);
      return absl::OkStatus();
    }
    return InvalidArgument("{}: {} characters, at most {} are allowed", field,
                           CountCharacters(prompt), limit.max_characters);
  }
  return absl::OkStatus();
}

}  // namespace weft::scan
