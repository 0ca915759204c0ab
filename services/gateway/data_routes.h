// /v1/admin/tenants/{id}/export, …/erase and the like: data_admin.h over REST and gRPC.
#pragma once

#include <absl/status/status.h>

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "services/gateway/api.h"
#include "weft/v1/admin.pb.h"

namespace weft::gateway {

absl::Status AddDataRoutes(const std::shared_ptr<const ApiDeps>& deps, EndpointTable& table);
void AddDataSchemas(nlohmann::ordered_json& schemas);

absl::Status Handle(DataAdmin& admin, const Actor& actor, const v1::EraseDataRequest& in,
                    v1::EraseDataResponse& out);
absl::Status Handle(DataAdmin& admin, const Actor& actor, const v1::RotateKeysRequest& in,
                    v1::RotateKeysResponse& out);
absl::Status Handle(DataAdmin& admin, const Actor& actor, const v1::PruneDataRequest& in,
                    v1::PruneDataResponse& out);
absl::Status Handle(DataAdmin& admin, const Actor& actor, const v1::ExportDataRequest& in,
                    v1::ExportDataResponse& out);

}  // namespace weft::gateway
