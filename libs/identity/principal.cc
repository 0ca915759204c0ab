#include "libs/identity/principal.h"

#include "libs/base/status.h"
#include "libs/identity/authenticator.h"

namespace weft::identity {

std::string_view RoleName(Role role) { return role == Role::kAdmin ? "admin" : "developer"; }

bool ParseRole(std::string_view name, Role& out) {
  if (name == "admin") {
    out = Role::kAdmin;
  } else if (name == "developer") {
    out = Role::kDeveloper;
  } else {
    return false;
  }
  return true;
}

std::string_view PriorityName(int32_t priority) {
  if (priority == 0) return "normal";
  return priority < 0 ? "low" : "high";
}

bool ParsePriority(std::string_view name, int32_t& out) {
  for (const int32_t priority : {-1, 0, kHighestPriority}) {
    if (name != PriorityName(priority)) continue;
    out = priority;
    return true;
  }
  return false;
}

std::string_view AccessName(Access access) {
  switch (access) {
    case Access::kPublic:
      return "public";
    case Access::kDeveloper:
      return "developer";
    case Access::kAdmin:
      return "admin";
  }
  return "unknown";
}

absl::Status CheckAccess(Access access, const Principal* principal) {
  if (access == Access::kPublic) return absl::OkStatus();
  if (principal == nullptr) {
    return Unauthenticated(
        "You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY' or 'X-API-Key: "
        "YOUR_KEY'.");
  }
  if (access == Access::kAdmin && principal->role != Role::kAdmin) {
    return PermissionDenied("This API key has the role '{}'; this needs the role 'admin'.",
                            RoleName(principal->role));
  }
  return absl::OkStatus();
}

absl::StatusOr<PrincipalPtr> AuthenticatorChain::Authenticate(const Credentials& credentials) {
  for (const auto& authenticator : chain_) {
    auto principal = authenticator->Authenticate(credentials);
    if (!principal.ok() || *principal != nullptr) return principal;
  }
  if (credentials.authorization.empty() && credentials.api_key.empty()) return PrincipalPtr();
  return Unauthenticated("Incorrect API key provided.");
}

}  // namespace weft::identity
