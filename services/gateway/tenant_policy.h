// What tenants choose about their own data, by settings (the table settings).
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "libs/store/database.h"
#include "services/gateway/followed.h"

namespace weft::gateway {

inline constexpr std::string_view kPromptsSetting = "prompts";      // {"days": 30}
inline constexpr std::string_view kRetentionSetting = "retention";  // {"usage_days": 90}
inline constexpr int64_t kMostDays = 36'500;

struct TenantPolicy {
  std::optional<int64_t>
      prompt_days;                    // prompts and answers are kept so long, sealed; 0: not at all
  std::optional<int64_t> usage_days;  // rows of usage; 0: for ever
};

class TenantPolicies {
 public:
  // Reads all tenants' settings. Those that are not as CheckSetting wants them are left out.
  static absl::StatusOr<TenantPolicies> Load(store::Database& database);

  // Of a tenant that chose nothing: empty.
  const TenantPolicy& Of(std::string_view tenant) const;

 private:
  std::map<std::string, TenantPolicy, std::less<>> tenants_;
};
using FollowedPolicies = Followed<TenantPolicies>;

// Whether a setting that has a meaning here may have this value; `can_seal`: a master key is
// configured. INVALID_ARGUMENT names the field.
absl::Status CheckSetting(std::string_view name, const nlohmann::json& value, bool can_seal);

}  // namespace weft::gateway
