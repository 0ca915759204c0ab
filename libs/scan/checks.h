// Tests of a candidate secret beyond its pattern.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "libs/scan/rule.h"

namespace weft::scan {

// Shannon entropy of the bytes' distribution, in bits per byte; 0 for empty text.
double Entropy(std::string_view text);

// IEEE CRC-32 (zlib's) of the text, as 6 base62 digits (0-9 A-Z a-z), zero-padded: the checksum
// that GitHub and npm put at the end of their tokens.
std::string Base62Crc32(std::string_view text);

// The beginning of a JSON Web Token in compact form (RFC 7519 section 3.1): what stands before the
// first dot decodes to a JSON object that has "alg". Nothing is verified.
bool LooksLikeJwt(std::string_view text);

// "changeme", "<token>", "${TOKEN}", "xxxxxxxx", "your-key-here", …
bool LooksLikePlaceholder(std::string_view text);

// `secret` is the rule's group.
bool Passes(Check check, std::string_view secret);
std::string_view Name(Check check);
bool Parse(std::string_view name, Check& out);

}  // namespace weft::scan
