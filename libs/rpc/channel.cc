#include "libs/rpc/channel.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>

#include "libs/base/status.h"
#include "libs/config/binder.h"

namespace weft::rpc {
namespace {

constexpr std::string_view kStatic = "static:";
constexpr uint64_t kMaxMessageLimit = uint64_t{1} << 30;

int Milliseconds(std::chrono::milliseconds duration) {
  return static_cast<int>(std::min<int64_t>(duration.count(), 1'000'000'000));
}

// gRPC's own form of an address list is "ipv4:a:1,b:2".
std::string GrpcTarget(const std::string& target) {
  if (!target.starts_with(kStatic)) return target;
  const std::string list = target.substr(kStatic.size());
  return (list.find('[') == std::string::npos ? "ipv4:" : "ipv6:") + list;
}

}  // namespace

absl::Status ChannelOptions::Validate() const {
  if (target.empty()) return InvalidArgument("target: an address is needed");
  return tls.Validate(false);
}

void Bind(config::Binder& binder, ChannelOptions& options) {
  using std::chrono::hours;
  using std::chrono::seconds;
  binder.Text("target", &options.target,
              "address: host:port, unix:path, dns:///host:port or static:a:1,b:2");
  binder.Bytes("max_message_bytes", &options.max_message_bytes, 1024, kMaxMessageLimit,
               "largest message taken");
  binder.Duration("keepalive_time", &options.keepalive_time, seconds(10), hours(2),
                  "a silent connection is pinged after this long");
  binder.Duration("keepalive_timeout", &options.keepalive_timeout, seconds(1), hours(1),
                  "and closed when the answer takes longer than this");
  binder.Duration("min_reconnect", &options.min_reconnect, std::chrono::milliseconds(10), hours(1),
                  "first wait before a lost connection is tried again");
  binder.Duration("max_reconnect", &options.max_reconnect, std::chrono::milliseconds(100), hours(1),
                  "longest wait between two tries");
  binder.Section("tls", "transport security to the target",
                 [&](config::Binder& inner) { BindClientTls(inner, options.tls); });
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelOptions& options) {
  WEFT_RETURN_IF_ERROR(options.Validate());
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  arguments.SetMaxSendMessageSize(static_cast<int>(options.max_message_bytes));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.keepalive_time));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(options.keepalive_timeout));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, Milliseconds(options.min_reconnect));
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, Milliseconds(options.min_reconnect));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, Milliseconds(options.max_reconnect));
  // Channels to one address must not share a connection: a stuck peer would stall all of them.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // Retries are decided by the callers, who know what was delivered.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  if (options.round_robin) arguments.SetLoadBalancingPolicyName("round_robin");
  if (!options.tls.server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.tls.server_name);
  }
  WEFT_ASSIGN_OR_RETURN(const auto credentials, ChannelCredentials(options.tls));
  return grpc::CreateCustomChannel(GrpcTarget(options.target), credentials, arguments);
}

void SetTimeout(grpc::ClientContext& context, std::chrono::nanoseconds timeout) {
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout));
}

void AddTrace(grpc::ClientContext& context, std::string_view traceparent,
              std::string_view request_id) {
  if (!traceparent.empty()) context.AddMetadata("traceparent", std::string(traceparent));
  if (!request_id.empty()) context.AddMetadata("x-request-id", std::string(request_id));
}

std::string Metadata(const grpc::CallbackServerContext& context, std::string_view key) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(grpc::string_ref(key.data(), key.size()));
  if (found == metadata.end()) return {};
  return {found->second.data(), found->second.size()};
}

std::chrono::nanoseconds TimeLeft(const grpc::CallbackServerContext& context,
                                  std::chrono::nanoseconds limit) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return limit;
  const std::chrono::nanoseconds left = deadline - std::chrono::system_clock::now();
  return std::clamp(left, std::chrono::nanoseconds(0), limit);
}

}  // namespace weft::rpc
