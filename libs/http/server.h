// An HTTP/1.1 server: keep-alive, bounded in headers, bodies, time, connections and streams.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "libs/http/exchange.h"
#include "libs/http/message.h"
#include "libs/http/router.h"
#include "libs/http/tls.h"

namespace weft::http {

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 0;  // 0 = chosen by the kernel
  int threads = 1;
  // Beyond: the connection that waited longest for a request is closed for a new one; when none
  // waits, 503.
  uint32_t max_connections = 4096;
  uint32_t max_streams = 1024;  // streamed answers at once; StartStream is false beyond
  uint64_t max_header_bytes = 16 << 10;
  uint64_t max_body_bytes = 8 << 20;
  std::chrono::milliseconds header_timeout{10'000};  // from the first byte to the end of the head
  std::chrono::milliseconds body_timeout{30'000};    // for the whole body
  std::chrono::milliseconds idle_timeout{75'000};    // between requests
  std::chrono::milliseconds write_timeout{30'000};   // without the socket taking a byte
  uint64_t max_buffered_bytes = 4 << 20;             // of one answer that the client does not read
  // Of all answers and of all request bodies that are on their way: beyond, streams that hold more
  // than their share are cut and bodies refused with 503.
  uint64_t max_total_buffered_bytes = 512 << 20;
  uint32_t max_connections_per_address = 0;  // 0 = no limit; beyond, closed at once
  std::shared_ptr<TlsCertificates> tls;      // nullptr = plain text

  absl::Status Validate() const;
};

// How the server itself answers: 400, 404, 405, 408, 413, 431, 500, 503. `code` is a short stable
// word ("header_too_large"), `message` a sentence.
using ErrorResponder =
    std::function<Response(int status, std::string_view code, std::string_view message)>;
Response PlainJsonError(int status, std::string_view code, std::string_view message);

// Looks at a request before its body is read, on the I/O thread. An answer refuses the request (the
// body is not read into memory). It may set request.context. `route` is nullptr for no match.
using HeaderFilter = std::function<std::optional<Response>(Request&, const Router::Route* route)>;

// Looks at the request again when its body is there, before the handler: for what only the body can
// show, such as a signature over it. Not called for a request that was refused before.
using BodyFilter = std::function<std::optional<Response>(Request&)>;

// Called once per answer, also for those the server gave by itself, with the status that was sent
// and the bytes of the body. `status` is 499 when the client went away before the answer began.
struct AccessRecord {
  const Request* request;
  int status;
  size_t response_bytes;
  std::chrono::nanoseconds duration;
};
using AccessLog = std::function<void(const AccessRecord&)>;
// Called when a request's head was read: with AccessLog it brackets every request.
using RequestStart = std::function<void()>;

struct ServerHooks {
  ErrorResponder error = PlainJsonError;
  HeaderFilter header_filter;
  BodyFilter body_filter;
  AccessLog access_log;
  RequestStart request_start;
};

struct ServerStats {
  size_t connections = 0;
  size_t streams = 0;
  size_t active_requests = 0;
  size_t buffered_bytes = 0;  // of answers and request bodies
  // Since the start:
  size_t stalled_streams = 0;  // cut because their reader was too slow
  size_t tls_failures = 0;     // handshakes
  size_t evicted_connections = 0;
  size_t refused_connections = 0;  // too many, of all or of one address
};

// Thread safe.
class Server {
 public:
  // Binds and serves on threads of its own. The error names the address ("127.0.0.1:8080: address
  // already in use").
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options,
                                                       std::shared_ptr<const Router> router,
                                                       ServerHooks hooks = {});
  virtual ~Server() = default;  // stops

  virtual uint16_t port() const = 0;
  virtual ServerStats stats() const = 0;

  // No new connections; idle ones close; answers get "Connection: close". Blocks until no request
  // is left or the time is over. True when none is left.
  virtual bool Drain(std::chrono::milliseconds timeout) = 0;
  // Breaks what is left and joins the threads. Idempotent.
  virtual void Stop() = 0;
};

}  // namespace weft::http
