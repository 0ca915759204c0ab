// Rule files are parsed or refused, and what compiles can scan.
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/scan/rule_set.h"
#include "libs/scan/scanner.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view yaml(reinterpret_cast<const char*>(data), size);
  auto rules = weft::scan::ParseRules(yaml, "fuzz.yaml");
  if (!rules.ok() || rules->size() > 4) return 0;
  for (const weft::scan::Rule& rule : *rules) {
    // Compiling long patterns takes long, which is no fault.
    if (rule.pattern.size() > 48 || rule.pattern.find('{') != std::string::npos) return 0;
  }
  const auto set = weft::scan::RuleSet::Compile(*std::move(rules));
  if (!set.ok()) return 0;
  weft::scan::StreamScanner stream(*set, {});
  stream.Append(yaml.substr(0, size / 2));
  stream.Append(yaml.substr(size / 2));
  stream.Close();
  return 0;
}
