#include "libs/scan/examples.h"

#include <algorithm>
#include <string>

#include "libs/base/status.h"
#include "libs/scan/rule_set.h"
#include "libs/scan/scanner.h"

namespace weft::scan {
namespace {

bool Finds(const RuleSet& rules, const Rule& rule, const std::string& example) {
  ScanOptions options;
  for (int kind = 0; kind < kTextKinds; ++kind) {
    if (rule.kinds[kind]) options.kind = static_cast<TextKind>(kind);
  }
  if (!rule.languages.empty()) options.language = rule.languages.front();
  const ScanResult result = ScanText(rules, example, options);
  return std::any_of(result.findings.begin(), result.findings.end(),
                     [&](const Finding& finding) { return finding.rule == rule.id; });
}

}  // namespace

absl::Status CheckExamples(const RuleSet& rules) {
  for (const Rule& rule : rules.rules()) {
    for (size_t i = 0; i < rule.bad.size(); ++i) {
      if (!Finds(rules, rule, rule.bad[i])) {
        return InvalidArgument("{}: rule {}: bad[{}] is not found", rule.where, rule.id, i);
      }
    }
    for (size_t i = 0; i < rule.good.size(); ++i) {
      if (Finds(rules, rule, rule.good[i])) {
        return InvalidArgument("{}: rule {}: good[{}] is found", rule.where, rule.id, i);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace weft::scan
