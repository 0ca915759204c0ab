// What may be done: verbs on resources. One table names every permission and the built-in roles
// that have it; routes, keys, tokens and custom roles speak of nothing else.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft::identity {

// In the order of PermissionTable. Names are "resource:verb".
enum class Permission : uint8_t {
  kSelfRead,
  kModelsRead,
  kModelsUse,
  kModelsPrioritize,
  kModelsManage,
  kKeysRead,
  kKeysWrite,
  kTenantsRead,
  kTenantsWrite,
  kTenantsCross,
  kProjectsRead,
  kProjectsWrite,
  kUsersRead,
  kUsersWrite,
  kRolesRead,
  kRolesWrite,
  kQuotasRead,
  kQuotasWrite,
  kUsageRead,
  kAuditRead,
  kDataExport,
  kDataErase,
  kSettingsRead,
  kSettingsWrite,
  kCacheRead,
  kCacheClear,
};
inline constexpr size_t kPermissionCount = static_cast<size_t>(Permission::kCacheClear) + 1;

struct PermissionInfo {
  Permission permission;
  std::string_view name;     // "keys:write"
  std::string_view roles;    // built-in roles beside admin, separated by spaces; admin has all
  std::string_view meaning;  // for people
};

// One row for each permission, in the enum's order.
std::span<const PermissionInfo> PermissionTable();
std::string_view PermissionName(Permission permission);
std::optional<Permission> ParsePermission(std::string_view name);

// A set of permissions, as one word.
class PermissionSet {
 public:
  constexpr PermissionSet() = default;
  static constexpr PermissionSet All() {
    PermissionSet set;
    set.bits_ = (uint64_t{1} << kPermissionCount) - 1;
    return set;
  }

  constexpr bool Has(Permission p) const { return (bits_ & Bit(p)) != 0; }
  constexpr void Add(Permission p) { bits_ |= Bit(p); }
  constexpr bool empty() const { return bits_ == 0; }
  // Whether nothing in it is missing in `other`.
  constexpr bool IsSubsetOf(PermissionSet other) const { return (bits_ & ~other.bits_) == 0; }
  constexpr PermissionSet operator|(PermissionSet other) const { return Of(bits_ | other.bits_); }
  constexpr PermissionSet operator&(PermissionSet other) const { return Of(bits_ & other.bits_); }
  constexpr PermissionSet operator-(PermissionSet other) const { return Of(bits_ & ~other.bits_); }
  constexpr bool operator==(const PermissionSet&) const = default;

 private:
  static constexpr uint64_t Bit(Permission p) { return uint64_t{1} << static_cast<uint8_t>(p); }
  static constexpr PermissionSet Of(uint64_t bits) {
    PermissionSet set;
    set.bits_ = bits;
    return set;
  }
  static_assert(kPermissionCount < 64);

  uint64_t bits_ = 0;
};

// Each is a permission's name, "resource:*" or "*". INVALID_ARGUMENT names what is none of these.
absl::StatusOr<PermissionSet> ParsePermissions(std::span<const std::string> names);
// Their names in the table's order.
std::vector<std::string> PermissionNames(PermissionSet set);

}  // namespace weft::identity
