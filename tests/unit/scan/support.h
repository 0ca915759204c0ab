// What the scan tests share.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "libs/scan/rule_set.h"
#include "libs/scan/scanner.h"
#include "tests/support/catch.h"

namespace weft::scan {

inline std::shared_ptr<const RuleSet> BuiltinShared() {
  static const std::shared_ptr<const RuleSet> rules = [] {
    auto built = RuleSet::Builtin();
    INFO(ToString(built.status()));
    REQUIRE(built.ok());
    return *std::move(built);
  }();
  return rules;
}
inline const RuleSet& Builtin() { return *BuiltinShared(); }

inline Rule MakeRule(std::string id, std::string pattern) {
  Rule rule;
  rule.id = std::move(id);
  rule.type = "t";
  rule.message = "m";
  rule.pattern = std::move(pattern);
  for (bool& kind : rule.kinds) kind = true;
  rule.where = "test.yaml:1";
  return rule;
}

inline std::shared_ptr<const RuleSet> CompileRules(std::vector<Rule> rules,
                                                   const std::function<void(Rule&)>& change = {},
                                                   RuleSetOptions options = {}) {
  if (change) {
    for (Rule& rule : rules) change(rule);
  }
  auto compiled = RuleSet::Compile(std::move(rules), std::move(options));
  INFO(ToString(compiled.status()));
  REQUIRE(compiled.ok());
  return *std::move(compiled);
}

inline std::vector<std::string> Ids(const ScanResult& result) {
  std::vector<std::string> ids;
  for (const Finding& finding : result.findings) ids.push_back(finding.rule);
  return ids;
}

}  // namespace weft::scan
