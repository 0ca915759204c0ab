// From what a request carries to a principal. API keys are one way; others join by this interface.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string_view>
#include <vector>

#include "libs/identity/principal.h"

namespace weft::identity {

// Views into the request; they live as long as the call.
struct Credentials {
  std::string_view authorization = {};  // the whole header: "Bearer weft_…"
  std::string_view api_key = {};        // X-API-Key
  std::string_view method = {};         // for schemes that sign the request
  std::string_view path = {};
  std::string_view remote_address = {};
  std::string_view cookie = {};      // the whole Cookie header
  std::string_view csrf_token = {};  // X-CSRF-Token

  // Whether anything was presented that could be good or bad.
  bool empty() const { return authorization.empty() && api_key.empty() && cookie.empty(); }
};

// "Bearer X" gives X; the scheme's name has no case (RFC 9110 section 11.1). Empty for others.
std::string_view BearerToken(std::string_view authorization);

// Thread safe. May read a database row, blocks for nothing longer.
class Authenticator {
 public:
  virtual ~Authenticator() = default;

  // PERMISSION_DENIED: it is known who asks, but not that they want it (a session without its token
  // against forgery). nullptr: these credentials are not of this scheme (or there are none).
  // UNAUTHENTICATED: they are, and they are not good; the message does not say which part was
  // wrong.
  virtual absl::StatusOr<PrincipalPtr> Authenticate(const Credentials& credentials) = 0;
};

// Asks each in turn; the first that knows the scheme decides. UNAUTHENTICATED when none does.
class AuthenticatorChain final : public Authenticator {
 public:
  explicit AuthenticatorChain(std::vector<std::shared_ptr<Authenticator>> chain)
      : chain_(std::move(chain)) {}
  absl::StatusOr<PrincipalPtr> Authenticate(const Credentials& credentials) override;

 private:
  const std::vector<std::shared_ptr<Authenticator>> chain_;
};

}  // namespace weft::identity
