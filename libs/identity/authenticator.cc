#include "libs/identity/authenticator.h"

#include <absl/strings/cord.h>

#include "libs/base/status.h"

namespace weft::identity {
namespace {

constexpr char kNeedsBody[] = "weft.identity.needs_body";

}  // namespace

std::string_view BearerToken(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() <= kScheme.size()) return {};
  for (size_t i = 0; i < kScheme.size(); ++i) {
    const char c = authorization[i];
    if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != kScheme[i]) return {};
  }
  authorization.remove_prefix(kScheme.size());
  while (!authorization.empty() && authorization.front() == ' ') authorization.remove_prefix(1);
  return authorization;
}

absl::Status NeedsBody() {
  absl::Status status = Unauthenticated("The request's signature is checked with its body.");
  status.SetPayload(kNeedsBody, absl::Cord());
  return status;
}

bool IsNeedsBody(const absl::Status& status) { return status.GetPayload(kNeedsBody).has_value(); }

absl::StatusOr<PrincipalPtr> AuthenticatorChain::Authenticate(const Credentials& credentials) {
  for (const auto& authenticator : chain_) {
    auto principal = authenticator->Authenticate(credentials);
    if (!principal.ok() || *principal != nullptr) return principal;
  }
  if (credentials.authorization.empty() && credentials.api_key.empty() &&
      credentials.signature.empty()) {
    return PrincipalPtr();
  }
  return Unauthenticated("Incorrect API key provided.");
}

}  // namespace weft::identity
