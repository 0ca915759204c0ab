// Requests that are signed instead of carrying a key.
//
// v1, as requirement 000 has it:
//   X-Weft-Key-Id: <key id>     X-Weft-Timestamp: <Unix seconds>
//   X-Weft-Signature: <hex HMAC-SHA-256 of "{timestamp}:{body}">
// v2, which also binds what is asked and how often:
//   Authorization: WEFT-HMAC-SHA256 key=<key id>, ts=<Unix seconds>, nonce=<16 to 64 of
//     A-Z a-z 0-9 - _>, body=<hex SHA-256 of the body>, sig=<hex HMAC-SHA-256 of the lines
//     "v2", method, target, key, ts, nonce, body, each ended by "\n" but the last>
//   The target is the path with its query, as sent.
//
// The HMAC key is the key's signing secret as it is written, shown once when the key is made. It is
// derived from the server's pepper and the key's salt, so nothing else is kept of it, and it ends
// with the key. A v2 nonce is good once, in all gateways that share a SeenSet; v1 has none: the
// signature itself is taken for it, so a v1 request cannot be repeated within its window either.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libs/base/clock.h"

namespace weft::identity {

inline constexpr int64_t kSignatureWindowSeconds = 300;

struct RequestSignature {
  int version = 0;
  std::string_view key_id;
  int64_t timestamp = 0;
  std::string_view nonce;      // v2
  std::string_view body_hash;  // v2: hex, lower case
  std::string_view signature;  // hex, lower case
};

// nullopt: the request is not signed. INVALID_ARGUMENT: it is, and badly formed. Views into the
// arguments.
absl::StatusOr<std::optional<RequestSignature>> ParseSignature(std::string_view authorization,
                                                               std::string_view key_id,
                                                               std::string_view timestamp,
                                                               std::string_view signature);

// Whether the timestamp is within the window around now.
bool IsFresh(const RequestSignature& signature, WallTime now);

// Constant time. v1 needs the body; v2 signs its hash, so the signature can be checked before the
// body is there, and MatchesBody after it.
bool VerifySignatureV1(const RequestSignature& signature, std::string_view secret,
                       std::string_view body);
bool VerifySignatureV2(const RequestSignature& signature, std::string_view secret,
                       std::string_view method, std::string_view target);
bool MatchesBody(const RequestSignature& signature, std::string_view body);

// The other side, for clients and tests.
std::string SignV1(std::string_view secret, int64_t timestamp, std::string_view body);
std::string SignV2Header(std::string_view secret, std::string_view key_id, int64_t timestamp,
                         std::string_view nonce, std::string_view method, std::string_view target,
                         std::string_view body);

// "wsig_" and 43 characters: 256 bits of HMAC-SHA-256 under the pepper.
std::string SigningSecret(std::string_view pepper, std::string_view key_id, std::string_view salt);

}  // namespace weft::identity
