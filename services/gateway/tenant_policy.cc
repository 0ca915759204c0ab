#include "services/gateway/tenant_policy.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "libs/base/error_info.h"
#include "libs/base/status.h"

namespace weft::gateway {
namespace {

using nlohmann::json;

struct Known {
  std::string_view setting;
  const char* member;
  std::optional<int64_t> TenantPolicy::*field;
};
constexpr Known kKnown[] = {{kPromptsSetting, "days", &TenantPolicy::prompt_days},
                            {kRetentionSetting, "usage_days", &TenantPolicy::usage_days}};

const Known* Find(std::string_view name) {
  for (const Known& known : kKnown) {
    if (known.setting == name) return &known;
  }
  return nullptr;
}

bool IsDays(const json& value, const char* member) {
  if (!value.is_object() || value.size() != 1 || !value.contains(member)) return false;
  const json& days = value.at(member);
  return days.is_number_integer() && days.get<int64_t>() >= 0 && days.get<int64_t>() <= kMostDays;
}

}  // namespace

absl::StatusOr<TenantPolicies> TenantPolicies::Load(store::Database& database) {
  TenantPolicies out;
  WEFT_ASSIGN_OR_RETURN(
      const store::Result found,
      database.ReadOne(store::Scope::System(),
                       "SELECT tenant, name, value FROM settings WHERE name IN ($1, $2)",
                       {kPromptsSetting, kRetentionSetting}));
  for (const store::Row& row : found.rows) {
    const Known* known = Find(row.Text(1));
    const json value = json::parse(row.Text(2), nullptr, false);
    if (known == nullptr || !IsDays(value, known->member)) continue;
    out.tenants_[row.Text(0)].*known->field = value.at(known->member).get<int64_t>();
  }
  return out;
}

const TenantPolicy& TenantPolicies::Of(std::string_view tenant) const {
  static const TenantPolicy kNone;
  const auto it = tenants_.find(tenant);
  return it == tenants_.end() ? kNone : it->second;
}

absl::Status CheckSetting(std::string_view name, const json& value, bool can_seal) {
  const Known* known = Find(name);
  if (known == nullptr) return absl::OkStatus();
  if (!IsDays(value, known->member)) {
    return WithField(InvalidArgument("value: the setting '{}' must be {{\"{}\": N}}, 0 to {}", name,
                                     known->member, kMostDays),
                     "value");
  }
  if (name == kPromptsSetting && !can_seal && value.at("days") != 0) {
    return WithField(InvalidArgument("value: prompts cannot be kept, as this gateway has no master "
                                     "key to seal them under (gateway.master_keys)"),
                     "value");
  }
  return absl::OkStatus();
}

}  // namespace weft::gateway
