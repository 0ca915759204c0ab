#include "libs/identity/certificate_names.h"

#include "libs/base/status.h"
#include "libs/identity/key_service.h"

namespace weft::identity {

absl::StatusOr<std::shared_ptr<CertificateAuthenticator>> CertificateAuthenticator::Make(
    const std::vector<CertificateIdentity>& list, const RoleDirectory& roles) {
  auto made = std::make_shared<CertificateAuthenticator>();
  for (const CertificateIdentity& one : list) {
    if (one.san.empty()) return InvalidArgument("san: is missing");
    if (absl::Status status =
            CheckKeyFields({.name = one.name.empty() ? one.san.substr(0, 100) : one.name,
                            .tenant = one.tenant,
                            .role = one.role,
                            .requests_per_minute = one.requests_per_minute});
        !status.ok()) {
      return Annotate(std::move(status), one.san);
    }
    auto principal = std::make_shared<Principal>();
    principal->subject = "cert:" + one.san;
    principal->key_id = principal->subject;
    principal->name = one.name.empty() ? one.san : one.name;
    principal->tenant = one.tenant;
    principal->requests_per_minute = one.requests_per_minute;
    principal->method = AuthMethod::kCertificate;
    WEFT_ASSIGN_OR_RETURN(std::vector<std::string> names, ParseRoles(one.role));
    WEFT_RETURN_IF_ERROR(GrantRoles(roles, std::move(names), *principal));
    if (!made->by_name_.emplace(one.san, std::move(principal)).second) {
      return InvalidArgument("{}: is there twice", one.san);
    }
  }
  return made;
}

absl::StatusOr<PrincipalPtr> CertificateAuthenticator::Authenticate(
    const Credentials& credentials) {
  if (!credentials.authorization.empty() || !credentials.api_key.empty() ||
      !credentials.signature.empty()) {
    return PrincipalPtr();
  }
  PrincipalPtr found;
  for (const std::string& name : credentials.certificate_names) {
    const auto it = by_name_.find(name);
    if (it == by_name_.end()) continue;
    if (found && found != it->second) {
      return Unauthenticated("The client's certificate names two identities.");
    }
    found = it->second;
  }
  return found;
}

}  // namespace weft::identity
