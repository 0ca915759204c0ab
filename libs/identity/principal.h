// Who makes a request, and what they may do.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace weft::identity {

enum class Role : uint8_t { kDeveloper, kAdmin };
std::string_view RoleName(Role role);
bool ParseRole(std::string_view name, Role& out);

// What a route asks of its caller. Every route has one.
enum class Access : uint8_t {
  kPublic,     // anybody, without credentials
  kDeveloper,  // any principal
  kAdmin,      // the admin role
};
std::string_view AccessName(Access access);

// Immutable; shared by everything that works for one request.
struct Principal {
  std::string key_id;  // goes into logs as user_id; it is no secret
  std::string name;
  std::string tenant;
  Role role = Role::kDeveloper;
  uint32_t requests_per_minute = 60;
};
using PrincipalPtr = std::shared_ptr<const Principal>;

// UNAUTHENTICATED without a principal where one is needed, PERMISSION_DENIED for too small a role.
absl::Status CheckAccess(Access access, const Principal* principal);

}  // namespace weft::identity
