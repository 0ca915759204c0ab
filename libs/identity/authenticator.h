// From what a request carries to a principal. API keys are one way; others join by this interface.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/identity/principal.h"

namespace weft::identity {

// Views into the request; they live as long as the call.
struct Credentials {
  std::string_view authorization = {};  // the whole header: "Bearer weft_…"
  std::string_view api_key = {};        // X-API-Key
  std::string_view method = {};
  std::string_view target = {};  // the path with its query, as sent
  std::string_view remote_address = {};
  std::string_view cookie = {};      // the whole Cookie header
  std::string_view csrf_token = {};  // X-CSRF-Token
  // Of requests that are signed (request_signature.h).
  std::string_view signing_key_id = {};
  std::string_view timestamp = {};
  std::string_view signature = {};
  // Names that a client's certificate was issued for, as TLS has verified them: "spiffe://…", a DNS
  // name.
  std::span<const std::string> certificate_names = {};
  // The body. nullopt: it is not there yet.
  std::optional<std::string_view> body = {};

  // Whether anything was presented that could be good or bad.
  bool empty() const {
    return authorization.empty() && api_key.empty() && cookie.empty() && signature.empty() &&
           certificate_names.empty();
  }
};

// "Bearer X" gives X; the scheme's name has no case (RFC 9110 section 11.1). Empty for others.
std::string_view BearerToken(std::string_view authorization);

// The answer of an authenticator that cannot tell before it has seen the body: it must be asked
// again with it. Until then nothing is known of the caller.
absl::Status NeedsBody();
bool IsNeedsBody(const absl::Status& status);

// Thread safe. May read a database row, blocks for nothing longer.
class Authenticator {
 public:
  virtual ~Authenticator() = default;

  // NeedsBody: ask again. PERMISSION_DENIED: it is known who asks, but not that they want it (a
  // session without its token against forgery). nullptr: these credentials are not of this scheme
  // (or there are none). UNAUTHENTICATED: they are, and they are not good; the message does not say
  // which part was wrong.
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
