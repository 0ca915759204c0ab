// /v1/admin/…: tenants, projects, users, roles, quotas, settings, the audit; and /v1/usage.
#pragma once

#include <absl/status/status.h>

#include <memory>

#include "services/gateway/api.h"

namespace weft::gateway {

// A list, a creation, a look, a change and a removal for every type of libs/store/resource.h.
absl::Status AddResourceRoutes(const std::shared_ptr<const ApiDeps>& deps, EndpointTable& table);
absl::Status AddAuditRoutes(const std::shared_ptr<const ApiDeps>& deps, EndpointTable& table);

}  // namespace weft::gateway
