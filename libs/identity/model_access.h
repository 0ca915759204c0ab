// Which models a principal may use.
#pragma once

#include <absl/status/status.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft::identity {

// Patterns are a model's id, or the beginning of ids with '*' at the end ("llama-*", "*").
// INVALID_ARGUMENT for an empty one, a '*' elsewhere, more than 256 bytes, or more than 256 of
// them.
absl::Status CheckModelPatterns(std::span<const std::string> patterns);

// Nothing said: every model. Each Restrict narrows it: a model must match one pattern of each.
class ModelAccess {
 public:
  // No patterns: no restriction.
  void Restrict(std::vector<std::string> patterns);
  bool Allows(std::string_view model) const;
  bool unrestricted() const { return all_of_.empty(); }

 private:
  std::vector<std::vector<std::string>> all_of_;
};

}  // namespace weft::identity
