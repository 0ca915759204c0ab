// Programs inside that show a client certificate (mutual TLS): the names in it say who they are.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/identity/authenticator.h"
#include "libs/identity/role.h"

namespace weft::identity {

struct CertificateIdentity {
  std::string san;  // a subject alternative name, whole: "spiffe://mesh/ci", "ci.internal"
  std::string name;
  std::string tenant = "default";
  std::string role = "developer";
  uint32_t requests_per_minute = 60;
};

// Asked last: a key or token that is sent along says more than the connection it came over. Thread
// safe.
class CertificateAuthenticator final : public Authenticator {
 public:
  // INVALID_ARGUMENT names a name that is there twice, or fields that are not good.
  static absl::StatusOr<std::shared_ptr<CertificateAuthenticator>> Make(
      const std::vector<CertificateIdentity>& list, const RoleDirectory& roles);

  // nullptr where none of the names is known. A certificate with the names of two principals is
  // UNAUTHENTICATED: which one it is cannot be known.
  absl::StatusOr<PrincipalPtr> Authenticate(const Credentials& credentials) override;

 private:
  std::map<std::string, PrincipalPtr, std::less<>> by_name_;
};

}  // namespace weft::identity
