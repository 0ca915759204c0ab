// Signing in with a browser: the authorization code flow with PKCE (RFC 6749, 7636, 9700).
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/clock.h"
#include "libs/identity/oidc_provider.h"

namespace weft::identity {

// Thread safe. What has to be remembered between the two steps is in the browser's cookie, sealed,
// so that any gateway can take the second one.
class OidcLogin {
 public:
  // `key` (32 bytes) seals the cookie. Providers without a client_id cannot be used.
  OidcLogin(std::vector<std::shared_ptr<OidcProvider>> providers, std::string key,
            Clock& clock = Clock::Real());

  bool available() const { return !providers_.empty(); }

  struct Start {
    std::string url;     // where the browser goes
    std::string cookie;  // kLoginCookie's value, for kLifetime
  };
  static constexpr std::chrono::seconds kLifetime{600};
  // An empty provider is the first one. `return_to` is a path of this gateway. NOT_FOUND for an
  // unknown provider, INVALID_ARGUMENT for another kind of path, UNAVAILABLE while the provider is.
  absl::StatusOr<Start> Begin(std::string_view provider, std::string_view return_to);

  struct End {
    User user;
    std::string source;  // "oidc:NAME"
    std::string return_to;
  };
  // With the callback's query. Blocks for the exchange with the provider. UNAUTHENTICATED when
  // anything does not fit together.
  absl::StatusOr<End> Finish(std::string_view cookie, std::string_view state, std::string_view code,
                             std::string_view issuer);

 private:
  OidcProvider* Find(std::string_view name) const;

  std::vector<std::shared_ptr<OidcProvider>> providers_;
  const std::string key_;
  Clock& clock_;
};

// A path that browsers cannot take for another host's: "/x", not "//x", "/\x", "https:x".
bool IsLocalPath(std::string_view path);

}  // namespace weft::identity
