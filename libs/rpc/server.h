// A gRPC server with what every Weft service has: several listen addresses, health v1, reflection,
// limits, keepalive, drain.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libs/rpc/tls.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

namespace weft::rpc {

struct ServerOptions {
  // "127.0.0.1:8081", "[::]:8081", "127.0.0.1:0" (a free port), "unix:/run/weft/worker.sock".
  // TLS is for the TCP addresses; Unix sockets are plain and mode 0600.
  std::vector<std::string> listen = {};
  TlsOptions tls = {};
  uint64_t max_message_bytes = uint64_t{16} << 20;
  int max_concurrent_streams = 1024;  // per connection
  std::chrono::milliseconds keepalive_time{30'000};
  std::chrono::milliseconds keepalive_timeout{10'000};
  // Clients that ping more often are sent away (GOAWAY). ChannelOptions' keepalive is 30 s.
  std::chrono::milliseconds min_ping_interval{10'000};
  std::chrono::milliseconds drain_timeout{20'000};

  absl::Status Validate() const;
};

// Declares listen, tls.*, max_message_bytes, max_concurrent_streams, keepalive_*, drain_timeout.
void Bind(config::Binder& binder, ServerOptions& options);

struct ServiceEntry {
  grpc::Service* service;
  std::string name;  // for health: WorkerService::service_full_name()
};

// Thread safe.
class Server {
 public:
  // The services must outlive the server. Health says NOT_SERVING until SetServing(true).
  // FAILED_PRECONDITION names an address that is taken.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options,
                                                       const std::vector<ServiceEntry>& services);
  ~Server();  // as Drain(0)
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // What health answers for "" and for each service.
  void SetServing(bool serving);

  // The addresses as they are: port 0 is replaced by the kernel's choice.
  const std::vector<std::string>& addresses() const { return addresses_; }

  // Health says NOT_SERVING, no new call is taken, running calls may end within `grace`; then they
  // are cancelled. Blocks. Idempotent.
  void Drain(std::chrono::nanoseconds grace);

 private:
  explicit Server(std::vector<std::string> service_names);

  std::vector<std::string> service_names_;
  std::vector<std::string> addresses_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace weft::rpc
