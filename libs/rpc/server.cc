#include "libs/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "libs/base/status.h"
#include "libs/config/binder.h"

namespace weft::rpc {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr uint64_t kMaxMessageLimit = uint64_t{1} << 30;

bool IsUnix(std::string_view address) { return address.starts_with(kUnix); }

std::string UnixPath(std::string_view address) {
  std::string_view path = address.substr(kUnix.size());
  if (path.starts_with("//")) path.remove_prefix(2);  // unix:///absolute/path
  return std::string(path);
}

// gRPC would silently take a socket away from a running process, so look for one first.
absl::Status CheckUnixSocketIsFree(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(name.sun_path)) {
    return InvalidArgument("listen: the socket path '{}' must have 1 to {} bytes", path,
                           sizeof(name.sun_path) - 1);
  }
  std::memcpy(name.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Internal("listen: no socket: {}", std::strerror(errno));
  const bool taken = connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0;
  close(fd);
  if (taken) return FailedPrecondition("listen: 'unix:{}' is in use by a running process", path);
  return absl::OkStatus();
}

int Milliseconds(std::chrono::milliseconds duration) {
  return static_cast<int>(std::min<int64_t>(duration.count(), 1'000'000'000));
}

}  // namespace

absl::Status ServerOptions::Validate() const {
  if (listen.empty()) return InvalidArgument("listen: at least one address is needed");
  for (const std::string& address : listen) {
    if (IsUnix(address)) continue;
    if (address.rfind(':') == std::string::npos) {
      return InvalidArgument("listen: '{}' is neither host:port nor unix:path", address);
    }
  }
  return tls.Validate(true);
}

void Bind(config::Binder& binder, ServerOptions& options) {
  using std::chrono::hours;
  using std::chrono::seconds;
  binder.List("listen", &options.listen, 16, "gRPC addresses: host:port or unix:path");
  binder.Bytes("max_message_bytes", &options.max_message_bytes, 1024, kMaxMessageLimit,
               "largest message taken");
  binder.Int("max_concurrent_streams", &options.max_concurrent_streams, 1, 1'000'000,
             "calls at once on one connection");
  binder.Duration("keepalive_time", &options.keepalive_time, seconds(1), hours(2),
                  "a silent connection is pinged after this long");
  binder.Duration("keepalive_timeout", &options.keepalive_timeout, seconds(1), hours(1),
                  "and closed when the answer takes longer than this");
  binder.Duration("min_ping_interval", &options.min_ping_interval, seconds(0), hours(1),
                  "clients that ping more often are disconnected");
  binder.Duration("drain_timeout", &options.drain_timeout, seconds(0), hours(1),
                  "after SIGTERM, how long running calls may take to end");
  binder.Section("tls", "transport security of the TCP addresses",
                 [&](config::Binder& inner) { BindServerTls(inner, options.tls); });
}

Server::Server(std::vector<std::string> service_names) : service_names_(std::move(service_names)) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options,
                                                      const std::vector<ServiceEntry>& services) {
  WEFT_RETURN_IF_ERROR(options.Validate());
  static std::once_flag plugins;
  std::call_once(plugins, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });

  grpc::ServerBuilder builder;
  // Two servers on one port would each get half of the connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder.SetMaxSendMessageSize(static_cast<int>(options.max_message_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.keepalive_time));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             Milliseconds(options.keepalive_timeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             Milliseconds(options.min_ping_interval));

  WEFT_ASSIGN_OR_RETURN(const auto credentials, ServerCredentials(options.tls));
  std::vector<int> ports(options.listen.size(), -1);
  for (size_t i = 0; i < options.listen.size(); ++i) {
    const std::string& address = options.listen[i];
    if (IsUnix(address)) WEFT_RETURN_IF_ERROR(CheckUnixSocketIsFree(UnixPath(address)));
    builder.AddListeningPort(
        address, IsUnix(address) ? grpc::InsecureServerCredentials() : credentials, &ports[i]);
  }
  std::vector<std::string> names;
  for (const ServiceEntry& entry : services) {
    builder.RegisterService(entry.service);
    names.push_back(entry.name);
  }

  std::unique_ptr<Server> server(new Server(std::move(names)));
  server->server_ = builder.BuildAndStart();
  for (size_t i = 0; i < options.listen.size(); ++i) {
    const std::string& address = options.listen[i];
    if (server->server_ == nullptr || ports[i] <= 0) {
      if (ports[i] > 0) continue;
      return FailedPrecondition(
          "listen: cannot listen on '{}': the address is taken, not allowed or not ours", address);
    }
    if (IsUnix(address)) {
      chmod(UnixPath(address).c_str(), S_IRUSR | S_IWUSR);
      server->addresses_.push_back(address);
    } else {
      server->addresses_.push_back(
          fmt::format("{}:{}", address.substr(0, address.rfind(':')), ports[i]));
    }
  }
  if (server->server_ == nullptr) return Internal("listen: the gRPC server did not start");
  server->SetServing(false);
  return server;
}

Server::~Server() { Drain(std::chrono::nanoseconds(0)); }

void Server::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  if (health == nullptr) return;
  for (const std::string& name : service_names_) health->SetServingStatus(name, serving);
  health->SetServingStatus(serving);
}

void Server::Drain(std::chrono::nanoseconds grace) {
  if (server_ == nullptr) return;  // it never started
  SetServing(false);
  server_->Shutdown(std::chrono::system_clock::now() +
                    std::chrono::duration_cast<std::chrono::system_clock::duration>(grace));
  server_->Wait();
}

}  // namespace weft::rpc
