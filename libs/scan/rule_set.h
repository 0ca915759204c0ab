// Rules, compiled: one Vectorscan streaming database over all rules finds candidates in a single
// pass, PCRE2 then settles each candidate on a bounded window.
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/scan/rule.h"

namespace weft::scan {

struct RuleSetOptions {
  // A match is found for certain when it is at most this long, and in lines of up to twice this
  // length however long it is. Text is held back for at most twice this.
  size_t window_bytes = 512;
  // Rules by id that are left out. An unknown id is an error.
  std::vector<std::string> disabled;

  absl::Status Validate() const;  // window_bytes: 64 to 65536
};

// Immutable; every method is thread safe. Share it.
class RuleSet {
 public:
  struct Compiled;  // Vectorscan and PCRE2 stay in the .cc files

  // The rules that are built in.
  static absl::StatusOr<std::shared_ptr<const RuleSet>> Builtin(RuleSetOptions options = {});
  // The built-in rules and those of every *.yaml in `directory` (by name). A rule with the id of an
  // earlier one replaces it.
  static absl::StatusOr<std::shared_ptr<const RuleSet>> WithDirectory(const std::string& directory,
                                                                      RuleSetOptions options = {});
  // Errors name the rule's file and line.
  static absl::StatusOr<std::shared_ptr<const RuleSet>> Compile(std::vector<Rule> rules,
                                                                RuleSetOptions options = {});
  ~RuleSet();

  const std::vector<Rule>& rules() const { return rules_; }
  const RuleSetOptions& options() const { return options_; }
  // 16 hex digits over everything that decides what is found.
  const std::string& version() const { return version_; }
  // Memory of one open StreamScanner besides the text it holds.
  size_t stream_bytes() const;
  const Compiled& compiled() const { return *compiled_; }

 private:
  RuleSet(std::vector<Rule> rules, RuleSetOptions options, std::unique_ptr<Compiled> compiled);

  std::vector<Rule> rules_;
  RuleSetOptions options_;
  std::string version_;
  std::unique_ptr<Compiled> compiled_;
};

// One YAML document of rules. Errors name file:line and the field. Bounded: 1 MiB, 1000 rules.
absl::StatusOr<std::vector<Rule>> ParseRules(std::string_view yaml, const std::string& origin);

struct BuiltinRuleFile {
  std::string_view name;
  std::string_view yaml;
};
std::span<const BuiltinRuleFile> BuiltinRuleFiles();

}  // namespace weft::scan
