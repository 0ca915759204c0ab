// What each method of the public gRPC API asks of its caller. The gateway does not start with a
// method that has no row here, so a method cannot exist without saying who may call it.
#pragma once

#include <absl/status/status.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/identity/principal.h"

namespace weft::gateway {

struct GrpcGuard {
  std::string_view method;  // "weft.v1.AdminService/CreateKey"
  identity::Guard guard;
};

std::span<const GrpcGuard> GrpcGuards();
// nullptr: there is no such method.
const GrpcGuard* FindGrpcGuard(std::string_view method);

// The services' methods and the rows of GrpcGuards must be the same. INTERNAL names what has no
// partner.
absl::Status CheckGrpcGuards(const std::vector<std::string>& services);

}  // namespace weft::gateway
