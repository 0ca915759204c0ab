// Transport security for gRPC servers and channels.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <vector>

namespace grpc {
class ChannelCredentials;
class ServerContextBase;
class ServerCredentials;
}  // namespace grpc

namespace weft::config {
class Binder;
}

namespace weft::rpc {

// All paths are PEM files. With `enabled` false everything else must be empty.
struct TlsOptions {
  bool enabled = false;
  std::string certificate_file = {};  // own certificate and its chain
  std::string key_file = {};          // its private key
  std::string ca_file = {};           // whom to trust; a client's default is the system's roots
  bool require_client_certificate = false;  // servers: mutual TLS; needs ca_file
  bool request_client_certificate = false;  // servers: checked where one is shown; needs ca_file
  std::string server_name = {};             // clients: the name to verify; default: the target's

  absl::Status Validate(bool server) const;
};

void BindServerTls(config::Binder& binder, TlsOptions& options);
void BindClientTls(config::Binder& binder, TlsOptions& options);

// Names that the client's certificate was issued for: its subject alternative names, as TLS has
// verified them. Empty without mutual TLS.
std::vector<std::string> CertificateNames(const grpc::ServerContextBase& context);

// Plain text when TLS is not enabled. Errors name the file.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentials(const TlsOptions& tls);
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentials(const TlsOptions& tls);

}  // namespace weft::rpc
