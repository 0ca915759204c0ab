// Turns a mesh's configuration into the processes that the supervisor starts.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "services/weftctl/supervise/port_claim.h"
#include "services/weftctl/supervise/state.h"
#include "services/weftctl/supervise/supervisor.h"

namespace weft::supervise {

struct PlanOptions {
  Home home;
  std::string config_file;  // the mesh's YAML; empty: defaults only
  std::string bin_dir;      // where weft-gateway and the others are
  int workers = 1;
  std::string model_path;
  bool gpu = false;           // worker i computes on GPU i, where the file does not say otherwise
  std::string jaeger;         // path of Jaeger's binary; empty: none
  std::string jaeger_config;  // its configuration: OTLP on 14317, the page on 16686
};

struct MeshPlan {
  std::vector<ServiceSpec> services;  // in the order of their start
  std::vector<PortClaim> ports;       // that have to be free before it
  std::string rest_url;
  std::string grpc_address;
  std::string model_id;  // what a client asks for
  std::string admin_key_file;
  std::string jaeger_url;  // empty: none
};

// Asks every binary for its effective configuration (--print-config), so that a mistake in the file
// is reported before anything starts, as are two listeners of one address. What depends on the
// state directory (sockets, database, key file), on the number of workers or on the model's path is
// filled in where the file says nothing.
absl::StatusOr<MeshPlan> MakePlan(const PlanOptions& options);

}  // namespace weft::supervise
