// Passwords at rest: scrypt (RFC 7914) by OpenSSL, in the PHC string format.
//
//   $scrypt$ln=15,r=8,p=3$<salt>$<hash>     N = 2^ln; salt 16 and hash 32 bytes, base64url
#pragma once

#include <absl/status/status.h>

#include <string>
#include <string_view>

namespace weft::identity {

// 8 to 1,024 bytes without control characters. INVALID_ARGUMENT (field password).
absl::Status CheckPassword(std::string_view password);

// About 32 MiB and some tenths of a second of one core: not on an I/O thread.
std::string HashPassword(std::string_view password);
// As long as HashPassword, whatever the answer. False for a hash that is none; its costs are
// bounded to 256 MiB.
bool VerifyPassword(std::string_view password, std::string_view hash);
bool IsPasswordHash(std::string_view hash);

}  // namespace weft::identity
