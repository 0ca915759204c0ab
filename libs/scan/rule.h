// A rule as its YAML says it (docs/scanner.md describes every field).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libs/scan/finding.h"

namespace weft::scan {

// Tests beside the pattern; a match that fails one is no finding.
enum class Check : uint8_t {
  kCrc32Base62,     // the last 6 characters are the base62 CRC-32 of those between them and the "_"
  kCrc32Base62All,  // the same, of all that stand before them
  kJwt,             // begins with the header of a JSON Web Token
  kNotPlaceholder,  // not "changeme", "<your key>", "${VAR}", "xxxx"…
};

// How far one match may reach.
enum class Scope : uint8_t {
  kLine,  // "\n" ends the subject, as with Python's re on each of text.split("\n")
  kText,
};

// What counts as one finding.
enum class Report : uint8_t {
  kLine,   // at most one per line, however often the pattern matches in it
  kMatch,  // every match that does not overlap an earlier one of the rule
};

struct Rule {
  std::string id;
  std::string type;
  Category category = Category::kCode;
  Severity severity = Severity::kMedium;
  std::string message;
  std::string pattern;  // PCRE syntax
  // What a match may go on with, again and again, beyond any window: the lines of a key after its
  // header. Each repetition becomes a finding that continues().
  std::string follow;
  bool caseless = false;
  // Letters i, k, s and \s match what Python's str patterns match, not only ASCII.
  bool unicode = false;
  Scope scope = Scope::kLine;
  Report report = Report::kLine;
  std::vector<std::string> languages;  // lower case; empty: any
  bool kinds[kTextKinds] = {false, false, false};
  int group = 0;             // the capture group to hide and to test; 0: the whole match
  double min_entropy = 0.0;  // bits per byte of the group; 0: no test
  std::vector<Check> checks;
  std::vector<std::string> bad;   // each must match
  std::vector<std::string> good;  // none may match
  std::string where;              // "secrets.yaml:12", for messages
};

}  // namespace weft::scan
