#include "libs/scan/python_text.h"

#include <cctype>
#include <cstddef>

#include "libs/base/status.h"

namespace weft::scan {
namespace {

// The same set in two forms: str.isspace() of Python 3.
constexpr std::string_view kSpacePattern =
    R"((?:[\x09-\x0d\x1c-\x20]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80))";

// Bytes of the white space character that `text` begins with; 0: none.
size_t SpaceBytes(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char a = byte(0);
  if ((a >= 0x09 && a <= 0x0D) || (a >= 0x1C && a <= 0x20)) return 1;
  if (a == 0xC2 && text.size() >= 2 && (byte(1) == 0x85 || byte(1) == 0xA0)) return 2;
  if (text.size() < 3) return 0;
  const unsigned char b = byte(1);
  const unsigned char c = byte(2);
  if (a == 0xE1 && b == 0x9A && c == 0x80) return 3;
  if (a == 0xE2 && b == 0x80 && ((c >= 0x80 && c <= 0x8A) || c == 0xA8 || c == 0xA9 || c == 0xAF)) {
    return 3;
  }
  if (a == 0xE2 && b == 0x81 && c == 0x9F) return 3;
  return a == 0xE3 && b == 0x80 && c == 0x80 ? 3 : 0;
}

std::string_view Equals(char lower) {
  switch (lower) {
    case 'i':
      return R"((?:i|\xc4\xb0|\xc4\xb1))";
    case 'k':
      return R"((?:k|\xe2\x84\xaa))";
    case 's':
      return R"((?:s|\xc5\xbf))";
    default:
      return {};
  }
}

}  // namespace

std::string_view PythonStrip(std::string_view utf8) {
  while (const size_t n = SpaceBytes(utf8)) utf8.remove_prefix(n);
  for (bool more = true; more && !utf8.empty();) {
    more = false;
    for (size_t n = 1; n <= 3 && n <= utf8.size(); ++n) {
      if (SpaceBytes(utf8.substr(utf8.size() - n)) == n) {
        utf8.remove_suffix(n);
        more = true;
        break;
      }
    }
  }
  return utf8;
}

absl::StatusOr<std::string> ExpandPythonPattern(std::string_view pattern, bool caseless) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      if (escaped == 's' && in_class) {
        return InvalidArgument("pattern: with `unicode`, \\s may not stand in a character class");
      }
      if (escaped == 's') {
        out += kSpacePattern;
      } else {
        out += c;
        out += escaped;
      }
      continue;
    }
    const char lower = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (in_class) {
      if (caseless && !Equals(lower).empty()) {
        return InvalidArgument("pattern: with `unicode`, the letter {} may not stand in a class",
                               c);
      }
      in_class = c != ']';
      out += c;
      continue;
    }
    if (c == '(' && pattern.substr(i, 2) == "(?" && pattern.substr(i, 3) != "(?:") {
      return InvalidArgument("pattern: with `unicode`, the only group syntax is (…) and (?:…)");
    }
    if (c == '[') {
      in_class = true;
      out += c;
      // "[^]]" and "[]]": a bracket in the first place is a member.
      if (pattern.substr(i + 1, 1) == "^") out += pattern[++i];
      if (pattern.substr(i + 1, 1) == "]") out += pattern[++i];
      continue;
    }
    const std::string_view equals = caseless ? Equals(lower) : std::string_view();
    if (equals.empty()) {
      out += c;
    } else {
      out += equals;
    }
  }
  return out;
}

}  // namespace weft::scan
