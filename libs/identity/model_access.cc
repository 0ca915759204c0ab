#include "libs/identity/model_access.h"

#include <algorithm>

#include "libs/base/status.h"

namespace weft::identity {
namespace {

constexpr size_t kMaxPatterns = 256;
constexpr size_t kMaxPatternBytes = 256;

bool Matches(std::string_view pattern, std::string_view model) {
  if (!pattern.ends_with('*')) return pattern == model;
  pattern.remove_suffix(1);
  return model.starts_with(pattern);
}

}  // namespace

absl::Status CheckModelPatterns(std::span<const std::string> patterns) {
  if (patterns.size() > kMaxPatterns) {
    return InvalidArgument("models: at most {} patterns", kMaxPatterns);
  }
  for (const std::string& pattern : patterns) {
    const size_t star = pattern.find('*');
    if (pattern.empty() || pattern.size() > kMaxPatternBytes ||
        (star != std::string::npos && star + 1 != pattern.size())) {
      return InvalidArgument(
          "models: '{}' is neither a model's id nor the beginning of ids with '*' at its end",
          pattern.substr(0, 64));
    }
  }
  return absl::OkStatus();
}

void ModelAccess::Restrict(std::vector<std::string> patterns) {
  if (!patterns.empty()) all_of_.push_back(std::move(patterns));
}

bool ModelAccess::Allows(std::string_view model) const {
  return std::all_of(all_of_.begin(), all_of_.end(), [model](const auto& any_of) {
    return std::any_of(any_of.begin(), any_of.end(),
                       [model](const std::string& pattern) { return Matches(pattern, model); });
  });
}

}  // namespace weft::identity
