// Where a Redis is and how it is talked to.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace weft::redis {

struct Endpoint {
  std::string host = "127.0.0.1";
  uint16_t port = 6379;
  std::string unix_path = {};  // not empty: a Unix socket in place of host and port
  bool tls = false;
  std::string username = {};  // empty with a password: Redis' user `default`
  std::string password = {};
  uint32_t database = 0;

  // "redis://10.0.0.7:6379/2": for logs and errors, without user and password.
  std::string Name() const;
};

// Files are PEM. What the endpoint does not use is ignored.
struct TlsFiles {
  std::string ca_file = {};           // whom to trust; empty: the system's roots
  std::string certificate_file = {};  // own certificate, for mutual TLS; with key_file or neither
  std::string key_file = {};
  std::string server_name = {};  // to verify in the certificate; empty: the endpoint's host
};

// What happened, for metrics. Called on the thread that makes the call, outside of locks; must be
// thread safe and quick.
struct Hooks {
  // `name` is the command's ("EVALSHA"); OK covers every reply but an error.
  std::function<void(std::string_view name, std::chrono::nanoseconds, const absl::Status&)> command;
  std::function<void(const absl::Status&)> connect;
};

struct Options {
  Endpoint endpoint;
  TlsFiles tls;
  size_t connections = 8;  // at most, open at once
  std::chrono::milliseconds connect_timeout{1'000};
  std::chrono::milliseconds timeout{100};  // for a command, with all that it waits for
  // While Redis is away calls fail at once; one of them tries again after this wait, which grows.
  std::chrono::milliseconds min_retry{50};
  std::chrono::milliseconds max_retry{2'000};
  size_t max_reply_bytes = size_t{64} << 20;  // beyond: an error, and the connection is dropped
  Hooks hooks = {};

  absl::Status Validate() const;
};

}  // namespace weft::redis
