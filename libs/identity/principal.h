// Who makes a request, and what they may do.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace weft::identity {

enum class Role : uint8_t { kDeveloper, kAdmin };
std::string_view RoleName(Role role);
bool ParseRole(std::string_view name, Role& out);

// Classes of requests: -1 is "low", 0 "normal", 1 "high". Higher goes first where there is a queue.
inline constexpr int32_t kHighestPriority = 1;
std::string_view PriorityName(int32_t priority);
bool ParsePriority(std::string_view name, int32_t& out);

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
  std::optional<int32_t> max_priority;  // that it may ask for; nothing: what the role may
};
using PrincipalPtr = std::shared_ptr<const Principal>;

// UNAUTHENTICATED without a principal where one is needed, PERMISSION_DENIED for too small a role.
absl::Status CheckAccess(Access access, const Principal* principal);

}  // namespace weft::identity
