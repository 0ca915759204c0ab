// A connection to the gateway's AdminService and CacheService with an administrator's key.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "weft/v1/admin.grpc.pb.h"
#include "weft/v1/cache.grpc.pb.h"

namespace CLI {
class App;
}

namespace weft::ctl {

struct AdminFlags {
  std::string home;
  std::string address;   // empty: of the mesh that runs in home
  std::string key_file;  // empty: the mesh's admin key
};
// --home, --address, --key-file
void AddAdminFlags(CLI::App* command, AdminFlags& flags);

struct AdminConnection {
  std::unique_ptr<v1::AdminService::Stub> stub;
  std::unique_ptr<v1::CacheService::Stub> cache;
  std::string key;

  // The key, and 30 s for the call.
  void Prepare(grpc::ClientContext& context) const;
};
absl::StatusOr<AdminConnection> ConnectAdmin(const AdminFlags& flags);

absl::Status FromGrpc(const grpc::Status& status);
// "2026-01-31", or "never" for 0.
std::string ShownDate(int64_t unix_seconds);

}  // namespace weft::ctl
