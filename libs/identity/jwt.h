// JSON Web Tokens in compact form (RFC 7515, 7519), as narrow as RFC 8725 asks: what is not needed
// is not taken. Nothing of a token is looked at but its header before its signature was checked.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/clock.h"
#include "libs/identity/jwk.h"
#include "libs/identity/jws_algorithm.h"

namespace weft::identity {

// What clients are told, word for word as requirement 004 has it.
inline constexpr std::string_view kTokenExpired = "Token has expired";
inline constexpr std::string_view kTokenInvalid = "Could not validate credentials";
inline constexpr std::string_view kTokenWithoutSubject = "Invalid authentication credentials";
absl::Status TokenExpired();  // UNAUTHENTICATED, each
absl::Status TokenInvalid();  // also where saying more would help to guess
absl::Status TokenWithoutSubject();

inline constexpr size_t kMaxTokenBytes = 16 << 10;

// A token that is well formed; its signature is still to be checked. Views into the text.
struct UncheckedToken {
  JwsAlgorithm algorithm{};
  std::string kid;   // empty: none
  std::string type;  // "typ", in lower case; empty: none
  std::string_view signed_text;
  std::string_view payload;  // still encoded
  std::string signature;
};

// True for text of three parts that begins like a JSON object's: another scheme's credentials do
// not.
bool LooksLikeToken(std::string_view text);

// INVALID_ARGUMENT, for logs, when it is anything but three parts of base64url of at most 16 KiB
// whose header is an object with an algorithm that is known. The members crit, jwk, jku, x5u, x5c,
// enc, zip and b64 are refused, whatever they hold: a key never comes out of a token, extensions
// are not known, and encryption is not spoken.
absl::StatusOr<UncheckedToken> ParseToken(std::string_view text);

// The signature under a symmetric key; only HS256 is one.
bool VerifyHmac(const UncheckedToken& token, std::string_view secret);
bool Verify(const UncheckedToken& token, const JwsKey& key);

// The claims of a token whose signature was good. INVALID_ARGUMENT unless they are one JSON object
// without doubled members, nested at most 8 deep.
absl::StatusOr<nlohmann::json> ParseClaims(const UncheckedToken& token);

struct ClaimRules {
  std::string issuer;                  // "iss" is exactly this
  std::vector<std::string> audiences;  // one of these is in "aud"
  std::chrono::seconds skew{60};       // by which clocks may differ
};

// exp, iss, aud and sub are needed; nbf and iat are checked where they are. TokenExpired for a
// token that is good but old, TokenWithoutSubject without a subject, else TokenInvalid.
absl::Status CheckClaims(const nlohmann::json& claims, const ClaimRules& rules, WallTime now);

// A signed HS256 token. `type` is the header's "typ".
std::string SignHmac(const nlohmann::json& claims, std::string_view type, std::string_view secret);

// A member that is a string; empty when it is not there or something else.
std::string TextClaim(const nlohmann::json& claims, std::string_view name);

}  // namespace weft::identity
