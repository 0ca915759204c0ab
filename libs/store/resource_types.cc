#include "libs/store/resource.h"

namespace weft::store {
namespace {

using enum FieldKind;
using enum FieldRule;
constexpr int64_t kJsonBytes = 65'536;
constexpr int64_t kAnyNumber = INT64_MAX;

constexpr ResourceField kTenants[] = {
    {"display_name", kText, kMay, "for people"},
    {"plan_type", kName, kMay, "the plan that it pays for", "", "free", 0, 64},
    {"status", kText, kMay, "suspended: nobody of it may make requests", "active suspended",
     "active"},
    {"settings", kObject, kMay, "what the tenant chose", "", "{}", 0, kJsonBytes},
    {"quota_limits", kObject, kMay, "what the plan allows", "", "{}", 0, kJsonBytes},
    {"billing_info", kObject, kMay, "for the bill", "", "{}", 0, kJsonBytes},
};
constexpr ResourceField kProjects[] = {
    {"display_name", kText, kMay, "for people"},
    {"settings", kObject, kMay, "what the project chose", "", "{}", 0, kJsonBytes},
};
constexpr ResourceField kUsers[] = {
    {"username", kText, kAtCreation, "the name to sign in with, unique in the tenant", "", "", 0,
     128},
    {"email", kText, kMay, "an address"},
    {"display_name", kText, kMay, "for people"},
    {"project", kText, kMay, "where their requests count", "", "", 0, 100},
    {"role", kText, kMay, "one role, or several separated by commas", "", "developer", 0, 512},
    {"models", kTexts, kMay, "patterns of models that they may use; empty: all", "", "[]", 0,
     kJsonBytes},
    {"requests_per_minute", kInteger, kMay, "their rate", "", "60", 1, 1'000'000},
    {"status", kText, kMay, "disabled: no sign-in, and no token of theirs is good",
     "active disabled", "active"},
    {"password_hash", kHash, kServer, "", "", "", 0, 1024},
    {"tokens_from", kTime, kServer, "tokens that were issued before are not good any more"},
    {"last_login_at", kTime, kServer, "the last sign-in; 0 = never"},
};
constexpr ResourceField kRoles[] = {
    {"description", kText, kMay, "for people"},
    {"permissions", kTexts, kMay, "such as models:use, keys:*", "", "[]", 0, kJsonBytes},
    {"models", kTexts, kMay, "patterns of models that it gives; empty: all", "", "[]", 0,
     kJsonBytes},
};
constexpr ResourceField kBindings[] = {
    {"subject_kind", kText, kAtCreation, "who: a user, a key or a directory's group",
     "user key group"},
    {"subject_id", kText, kAtCreation, "the user's name, the key's id, the group's name"},
    {"role", kName, kAtCreation, "what they are", "", "", 0, 64},
    {"project", kText, kMay, "only there; empty: everywhere", "", "", 0, 100},
};
constexpr ResourceField kQuotas[] = {
    {"subject_kind", kText, kAtCreation, "what is counted together",
     "tenant project user key model"},
    {"subject_id", kText, kMay, "which one; empty: each one of the kind"},
    {"metric", kText, kAtCreation, "cost_micros: millionths of the currency",
     "requests tokens cost_micros"},
    {"period", kText, kAtCreation, "of the calendar, UTC", "day month"},
    {"soft_limit", kInteger, kMay, "beyond: a warning; 0 = none", "", "0", 0, kAnyNumber},
    {"hard_limit", kInteger, kMay, "beyond: refused; 0 = none", "", "0", 0, kAnyNumber},
};
constexpr ResourceField kSettings[] = {
    {"value", kJson, kMust, "any JSON", "", "", 0, kJsonBytes},
};

constexpr ResourceType kTypes[] = {
    {"tenants", "tenant", "name", "name", false, "Who is kept apart from each other", kTenants},
    {"projects", "project", "tenant", "name", false, "Parts of a tenant, for usage and quotas",
     kProjects},
    {"users", "user", "tenant", "id", true, "People who sign in", kUsers},
    {"roles", "role", "tenant", "name", false, "Custom roles, beside the built-in ones", kRoles},
    {"role_bindings", "role_binding", "tenant", "id", true, "Who has which role besides their own",
     kBindings},
    {"quotas", "quota", "tenant", "id", true, "What may be used in a day or a month", kQuotas},
    {"settings", "setting", "tenant", "name", false, "Named values of a tenant", kSettings},
};

}  // namespace

std::span<const ResourceType> ResourceTypes() { return kTypes; }

const ResourceType* FindResourceType(std::string_view name) {
  for (const ResourceType& type : kTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

}  // namespace weft::store
