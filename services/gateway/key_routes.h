// /v1/keys: making, listing and revoking API keys.
#pragma once

#include <absl/status/status.h>

#include <memory>

#include "services/gateway/api.h"
#include "weft/v1/admin.pb.h"

namespace weft::gateway {

absl::Status AddKeyRoutes(const std::shared_ptr<const ApiDeps>& deps, EndpointTable& table);

// How long a key that was rotated stays good when nothing else is said, and at most.
inline constexpr std::chrono::seconds kDefaultOverlap{24 * 3600};
inline constexpr std::chrono::seconds kLongestOverlap{90 * 24 * 3600};

// Shared with the gRPC AdminService.
v1::ApiKey ToProto(const store::KeyRecord& record);
absl::StatusOr<identity::NewKey> ToNewKey(const v1::CreateKeyRequest& request);

}  // namespace weft::gateway
