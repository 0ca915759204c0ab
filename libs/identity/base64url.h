// base64url without padding (RFC 4648 section 5, as RFC 7515 uses it).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace weft::identity {

std::string Base64UrlEncode(std::string_view bytes);

// nullopt for padding, other characters, a length that no bytes have, and bits beyond the last byte
// that are not zero: each text has one spelling, so two spellings of a token cannot both be good.
std::optional<std::string> Base64UrlDecode(std::string_view text);

}  // namespace weft::identity
