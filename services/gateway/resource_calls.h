// The gRPC side of resource_admin.h.
#pragma once

#include <absl/status/status.h>

#include "services/gateway/resource_admin.h"
#include "weft/v1/admin.pb.h"

namespace weft::gateway {

// Each fills its answer. Every one checks the permission of the type itself, because one method
// serves all types.
absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::CreateResourceRequest& in,
                    v1::Resource& out);
absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::GetResourceRequest& in,
                    v1::Resource& out);
absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::ListResourcesRequest& in,
                    v1::ListResourcesResponse& out);
absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::UpdateResourceRequest& in,
                    v1::Resource& out);
absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::DeleteResourceRequest& in,
                    v1::DeleteResourceResponse& out);
absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::GetUsageRequest& in,
                    v1::GetUsageResponse& out);
absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::ListAuditRequest& in,
                    v1::ListAuditResponse& out);
absl::Status Handle(ResourceAdmin& admin, const Actor& actor, const v1::VerifyAuditRequest& in,
                    v1::VerifyAuditResponse& out);

}  // namespace weft::gateway
