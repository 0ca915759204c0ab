#include "libs/identity/principal.h"

#include "libs/base/status.h"
#include "libs/identity/role.h"

namespace weft::identity {

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

std::string_view Guard::name() const {
  return permission_ ? PermissionName(*permission_) : std::string_view("public");
}

std::string_view AuthMethodName(AuthMethod method) {
  switch (method) {
    case AuthMethod::kApiKey:
      return "api_key";
    case AuthMethod::kSignature:
      return "signature";
    case AuthMethod::kToken:
      return "token";
    case AuthMethod::kOidc:
      return "oidc";
    case AuthMethod::kSession:
      return "session";
    case AuthMethod::kCertificate:
      return "certificate";
  }
  return "unknown";
}

absl::Status CheckGuard(const Guard& guard, const Principal* principal) {
  if (guard.is_public()) return absl::OkStatus();
  if (principal == nullptr) {
    return Unauthenticated(
        "You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY' or 'X-API-Key: "
        "YOUR_KEY'.");
  }
  if (!principal->Can(*guard.permission())) {
    return PermissionDenied("This needs the permission '{}'; you have the role '{}'.", guard.name(),
                            JoinRoles(principal->roles));
  }
  return absl::OkStatus();
}

absl::Status CheckTenant(const Principal& principal, std::string_view tenant) {
  if (tenant == principal.tenant || principal.Can(Permission::kTenantsCross)) {
    return absl::OkStatus();
  }
  return PermissionDenied("This needs the permission '{}'; you belong to another tenant.",
                          PermissionName(Permission::kTenantsCross));
}

}  // namespace weft::identity
