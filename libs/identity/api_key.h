// The text form of API keys and the hash that is stored of them.
//
//   weft_<env>_<id>_<secret><check>
//   env     1 to 16 of a-z 0-9: which of somebody's installations it is for. Keys that were made
//           before keys had it lack it and its '_'.
//   id      12 characters of base62, 71 bits: found in lists and logs, no secret
//   secret  43 characters of base62, 256 bits
//   check   6 characters of base62: CRC-32 of everything before, so that scanners of source code
//           know a real key from text that looks like one
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace weft::identity {

struct ApiKeyText {
  std::string id;
  std::string text;  // the whole key
};

// From the kernel's random generator. An empty environment gives the older form.
ApiKeyText NewApiKey(std::string_view environment);
bool IsEnvironmentName(std::string_view text);

// The id of a well-formed key; nullopt for anything else, whatever its length or bytes.
std::optional<std::string_view> ApiKeyId(std::string_view text);

// HMAC-SHA-256 of the whole key's text; the HMAC key is pepper + salt. 32 bytes.
std::string HashApiKey(std::string_view text, std::string_view salt, std::string_view pepper);
std::string NewSalt();  // 16 bytes

// The text with everything that could be an API key or a signing secret blotted out: for what is
// shown or written of requests.
std::string RedactSecrets(std::string_view text);

// Takes the same time wherever the difference is. False for different lengths.
bool ConstantTimeEquals(std::string_view a, std::string_view b);

}  // namespace weft::identity
