// Channels to other services, and what every call carries.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "libs/rpc/backoff.h"
#include "libs/rpc/tls.h"

namespace grpc {
class Channel;
class ClientContext;
class CallbackServerContext;
}  // namespace grpc

namespace weft::rpc {

struct ChannelOptions {
  // "unix:/run/weft/worker.sock", "127.0.0.1:8081", "dns:///worker.weft:9000" (all addresses of a
  // headless service), "static:10.0.0.1:9000,10.0.0.2:9000".
  std::string target = {};
  TlsOptions tls = {};
  uint64_t max_message_bytes = uint64_t{16} << 20;
  std::chrono::milliseconds keepalive_time{30'000};
  std::chrono::milliseconds keepalive_timeout{10'000};
  std::chrono::milliseconds min_reconnect{100};
  std::chrono::milliseconds max_reconnect{5'000};
  // round_robin spreads calls over all addresses of the target.
  bool round_robin = false;

  absl::Status Validate() const;
};

// Declares target, tls.*, max_message_bytes, keepalive_*.
void Bind(config::Binder& binder, ChannelOptions& options);

// Never blocks: connecting begins with the first call. Each call makes connections of its own.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelOptions& options);

// The call fails with DEADLINE_EXCEEDED after this long.
void SetTimeout(grpc::ClientContext& context, std::chrono::nanoseconds timeout);

// W3C traceparent and the request id as metadata. Empty ones are left out.
void AddTrace(grpc::ClientContext& context, std::string_view traceparent,
              std::string_view request_id);

// A metadata value of the client, "" when absent; `key` in lower case.
std::string Metadata(const grpc::CallbackServerContext& context, std::string_view key);

// What is left of the caller's deadline; at most `limit`. Zero: it has passed.
std::chrono::nanoseconds TimeLeft(const grpc::CallbackServerContext& context,
                                  std::chrono::nanoseconds limit);

}  // namespace weft::rpc
