// Text that only this service can read and make: AES-256-GCM, for what browsers keep for us.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace weft::identity {

// `key` has 32 bytes. The nonce is random: a key is good for some 2^32 texts.
std::string SealText(std::string_view text, std::string_view key);
// nullopt for anything that SealText did not make with this key.
std::optional<std::string> OpenText(std::string_view sealed, std::string_view key);

}  // namespace weft::identity
