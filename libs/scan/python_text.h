// What Python's str type means by white space and by equal letters, in UTF-8 bytes. The
// requirement's patterns are Python's, matched with re.IGNORECASE on str; Vectorscan and PCRE2 run
// on bytes here.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

namespace weft::scan {

// str.strip(): without the Unicode white space at both ends.
std::string_view PythonStrip(std::string_view utf8);

// Rewrites a PCRE pattern so that outside character classes \s matches Unicode white space and,
// when caseless, the letters i, k and s match their non-ASCII equals (U+0130, U+0131; U+212A;
// U+017F). INVALID_ARGUMENT when one of these stands inside a class or in group syntax beyond (?: .
absl::StatusOr<std::string> ExpandPythonPattern(std::string_view pattern, bool caseless);

}  // namespace weft::scan
