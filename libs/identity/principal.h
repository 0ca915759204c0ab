// Who makes a request, and what they may do.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/identity/model_access.h"
#include "libs/identity/permission.h"

namespace weft::identity {

// Classes of requests: -1 is "low", 0 "normal", 1 "high". Higher goes first where there is a queue.
inline constexpr int32_t kHighestPriority = 1;
std::string_view PriorityName(int32_t priority);
bool ParsePriority(std::string_view name, int32_t& out);

// What a route asks of its caller. There is no guard without a decision: it is public, or it names
// a permission.
class Guard {
 public:
  // Anybody; credentials are not looked at.
  static constexpr Guard Public() { return {}; }
  // NOLINTNEXTLINE(google-explicit-constructor): a permission is what guards are made of
  constexpr Guard(Permission permission) : permission_(permission) {}

  constexpr bool is_public() const { return !permission_.has_value(); }
  constexpr std::optional<Permission> permission() const { return permission_; }
  // "public", or the permission's name.
  std::string_view name() const;

 private:
  constexpr Guard() = default;
  std::optional<Permission> permission_;
};

// How a principal showed who it is.
enum class AuthMethod : uint8_t {
  kApiKey,       // sent whole
  kSignature,    // a request signed with a key's signing secret
  kToken,        // a token of this gateway's own
  kOidc,         // a token of another issuer
  kSession,      // a browser's cookie
  kCertificate,  // mutual TLS
};
std::string_view AuthMethodName(AuthMethod method);

// Immutable; shared by everything that works for one request.
struct Principal {
  std::string key_id;   // what limits and logs count by, no secret: an API key's id, or the subject
  std::string subject;  // who: "key:ID", "user:NAME", "oidc:ISSUER#SUB", "cert:NAME"
  std::string name;     // for people
  std::string tenant;
  std::string project;  // empty: none
  std::vector<std::string> roles;
  PermissionSet permissions;  // of all roles, less what the key's scopes leave out
  ModelAccess models;
  AuthMethod method = AuthMethod::kApiKey;
  std::string token_id;  // of a token or session ("jti"), for revocation; empty: none
  uint32_t requests_per_minute = 60;
  std::optional<int32_t> max_priority;  // that it may ask for; nothing: what its permissions give

  bool Can(Permission permission) const { return permissions.Has(permission); }
};
using PrincipalPtr = std::shared_ptr<const Principal>;

// UNAUTHENTICATED without a principal where one is needed, PERMISSION_DENIED without the
// permission.
absl::Status CheckGuard(const Guard& guard, const Principal* principal);

// Whether the principal may act on what belongs to `tenant`. PERMISSION_DENIED.
absl::Status CheckTenant(const Principal& principal, std::string_view tenant);

}  // namespace weft::identity
