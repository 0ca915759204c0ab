// The gateway's own tokens (HS256): what signing in gives to programs, and to browsers as a cookie.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "libs/base/clock.h"
#include "libs/identity/authenticator.h"
#include "libs/identity/jwt.h"
#include "libs/identity/role.h"
#include "libs/identity/seen_set.h"
#include "libs/identity/user.h"

namespace weft::identity {

inline constexpr size_t kMinTokenSecretBytes = 32;  // 256 bits (RFC 7518 section 3.2)

struct TokenOptions {
  std::string secret;  // at least kMinTokenSecretBytes
  std::string previous_secret =
      {};                       // still good for tokens that were issued before it was replaced
  std::string issuer = "weft";  // "iss" and "aud"
  std::chrono::seconds lifetime{15 * 60};
  std::chrono::seconds session_lifetime{8 * 3600};
  std::chrono::seconds skew{60};
  // How old what is known of a local user may be: bounds how long a user that was disabled, or
  // whose roles changed, keeps what a token says.
  std::chrono::milliseconds user_cache{500};

  absl::Status Validate() const;  // errors name the key
};

enum class TokenKind : uint8_t { kAccess, kSession };

struct IssuedToken {
  std::string text;
  std::string id;    // "jti"
  std::string csrf;  // of a session: what requests that change something must send
  std::chrono::seconds lifetime{0};
};

// Thread safe.
class TokenService final : public Authenticator {
 public:
  // `users` may be null: then users of the source "local" are not good. `revoked` is shared by all
  // gateways where there are several.
  TokenService(TokenOptions options, std::shared_ptr<const RoleDirectory> roles,
               std::shared_ptr<UserDirectory> users, std::shared_ptr<SeenSet> revoked,
               Clock& clock = Clock::Real());

  // `source` says who vouches for the user: "local" ones are looked up again at every use, of
  // others the token itself holds tenant, roles and models until it ends.
  IssuedToken Issue(const User& user, std::string_view source, TokenKind kind) const;

  // Bearer tokens of HS256, and the session's cookie; a session needs the header X-CSRF-Token for
  // methods that change something (PERMISSION_DENIED). Others' tokens are nullptr.
  absl::StatusOr<PrincipalPtr> Authenticate(const Credentials& credentials) override;

  // Until it would have ended anyway. Blocks as the SeenSet does.
  absl::Status Revoke(const Principal& principal);

  // 32 bytes for another purpose, derived from the secret.
  std::string DerivedSecret(std::string_view purpose) const;

 private:
  struct Known {
    std::optional<User> user;
    SteadyTime until;
  };

  absl::StatusOr<PrincipalPtr> Check(const UncheckedToken& token, TokenKind kind);
  absl::StatusOr<std::optional<User>> FindUser(const std::string& tenant, const std::string& name);
  std::string CsrfOf(std::string_view id) const;

  const TokenOptions options_;
  const std::shared_ptr<const RoleDirectory> roles_;
  const std::shared_ptr<UserDirectory> users_;
  const std::shared_ptr<SeenSet> revoked_;
  Clock& clock_;
  std::mutex mutex_;
  std::unordered_map<std::string, Known> known_;
};

}  // namespace weft::identity
