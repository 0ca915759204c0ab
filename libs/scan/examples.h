// The examples that come with every rule.
#pragma once

#include <absl/status/status.h>

namespace weft::scan {

class RuleSet;

// Every rule must find something in each of its `bad` examples and nothing in its `good` ones. The
// error names the rule's file and line, and the number of the example, never its text.
absl::Status CheckExamples(const RuleSet& rules);

}  // namespace weft::scan
