// What a scan reports. Plain types: the gateway's policy and the scanner service share them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weft::scan {

// What a text is; rules say which kinds they look at.
enum class TextKind : uint8_t { kPrompt, kOutput, kCode };
constexpr int kTextKinds = 3;

// In ascending order, so that severities compare.
enum class Severity : uint8_t { kInfo, kLow, kMedium, kHigh, kCritical };

enum class Category : uint8_t { kCode, kPrompt, kSecret };

// "prompt", "output", "code" / "info" … "critical" / "code", "prompt", "secret".
std::string_view Name(TextKind kind);
std::string_view Name(Severity severity);
std::string_view Name(Category category);
// False when there is no such name.
bool Parse(std::string_view name, TextKind& out);
bool Parse(std::string_view name, Severity& out);
bool Parse(std::string_view name, Category& out);

struct Finding {
  std::string rule;  // "python.os-system"
  std::string type;  // "shell_injection"
  Category category = Category::kCode;
  Severity severity = Severity::kInfo;
  std::string message;
  // Code rules: the whole matched line, trimmed (of a line longer than the scan window: only the
  // matched text). Other rules: the matched text, trimmed. Secrets in it are masked.
  // Empty: see continues().
  std::string match;
  uint32_t line = 0;  // of the first byte of the match, from 1
  // The bytes to hide, in the whole text: the rule's redaction group if it has one, else the match.
  // For code rules: from the line's first match to its last.
  uint64_t begin = 0;
  uint64_t end = 0;

  // The rest of a long secret comes in further findings of the same rule, each of which begins
  // where the one before it ends. They are hidden with it and need no mark or count of their own.
  bool continues() const { return match.empty(); }

  friend bool operator==(const Finding&, const Finding&) = default;
};

}  // namespace weft::scan
