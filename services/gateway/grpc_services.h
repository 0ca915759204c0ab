// The public gRPC API: InferenceService and AdminService, with the identity, limits and errors of
// the REST API.
#pragma once

#include <memory>
#include <vector>

#include "libs/rpc/server.h"
#include "services/gateway/admission.h"
#include "services/gateway/api.h"

namespace weft::gateway {

// Owns the services; outlives the rpc::Server that runs them.
class GrpcServices {
 public:
  GrpcServices(std::shared_ptr<const ApiDeps> deps, Admission& admission);
  ~GrpcServices();
  std::vector<rpc::ServiceEntry> entries();

 private:
  class Inference;
  class Admin;
  class Cache;
  std::unique_ptr<Inference> inference_;
  std::unique_ptr<Admin> admin_;
  std::unique_ptr<Cache> cache_;
};

}  // namespace weft::gateway
