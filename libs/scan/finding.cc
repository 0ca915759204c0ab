#include "libs/scan/finding.h"

#include <array>
#include <cstddef>

namespace weft::scan {
namespace {

constexpr std::array<std::string_view, 3> kKindNames = {"prompt", "output", "code"};
constexpr std::array<std::string_view, 5> kSeverityNames = {"info", "low", "medium", "high",
                                                            "critical"};
constexpr std::array<std::string_view, 3> kCategoryNames = {"code", "prompt", "secret"};

template <typename E, size_t n>
bool ParseName(std::string_view name, const std::array<std::string_view, n>& names, E& out) {
  for (size_t i = 0; i < n; ++i) {
    if (names[i] == name) {
      out = static_cast<E>(i);
      return true;
    }
  }
  return false;
}

}  // namespace

std::string_view Name(TextKind kind) { return kKindNames[static_cast<size_t>(kind)]; }
std::string_view Name(Severity severity) { return kSeverityNames[static_cast<size_t>(severity)]; }
std::string_view Name(Category category) { return kCategoryNames[static_cast<size_t>(category)]; }

bool Parse(std::string_view name, TextKind& out) { return ParseName(name, kKindNames, out); }
bool Parse(std::string_view name, Severity& out) { return ParseName(name, kSeverityNames, out); }
bool Parse(std::string_view name, Category& out) { return ParseName(name, kCategoryNames, out); }

}  // namespace weft::scan
