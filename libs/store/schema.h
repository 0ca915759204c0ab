// The schema of the gateway's database: every step that any released program made, in order.
#pragma once

#include <span>

#include "libs/store/database.h"

namespace weft::store {

// The steps are in schema.cc and schema_tenancy.cc; each is applied once, and never edited.
std::span<const Migration> Schema();

// Step 3: tenants in full, projects, users, roles, quotas, usage, audit, settings, secrets.
Migration TenancyStep();

}  // namespace weft::store
