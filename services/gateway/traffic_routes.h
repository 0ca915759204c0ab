// REST: the response cache.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string_view>

#include "services/gateway/api.h"

namespace weft::gateway {

// INVALID_ARGUMENT when nothing is selected without `all`, or something with it.
absl::Status CheckPattern(const cache::KeyPattern& pattern, bool all);
// How many answers went. Who may not act on every tenant means the own one. FAILED_PRECONDITION
// without a cache, PERMISSION_DENIED for another tenant's, UNAVAILABLE while Redis or the audit is
// away. Blocks.
absl::StatusOr<uint64_t> Invalidate(const ApiDeps& deps, const Actor& actor,
                                    cache::KeyPattern pattern);

absl::Status AddTrafficRoutes(const std::shared_ptr<const ApiDeps>& deps, EndpointTable& table);

}  // namespace weft::gateway
