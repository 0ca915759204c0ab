// JSON strings from bytes that may be anything.
#pragma once

#include <string>
#include <string_view>

namespace weft::telemetry {

// Appends `text` in quotes. Control characters are escaped, invalid UTF-8 becomes U+FFFD (one for
// each maximal invalid part, as the Unicode standard recommends in section 3.9), and what is beyond
// `limit` bytes is cut at a character and marked with "…".
void AppendJsonString(std::string& out, std::string_view text, size_t limit = 16'384);

// The length of the UTF-8 character at the front of text, or 0 when it is invalid there.
// Surrogates, overlong forms and values above U+10FFFF are invalid.
size_t ValidUtf8Prefix(std::string_view text);

// The text with invalid parts replaced by U+FFFD and cut to `limit` bytes at a character.
std::string ValidUtf8(std::string_view text, size_t limit);

}  // namespace weft::telemetry
