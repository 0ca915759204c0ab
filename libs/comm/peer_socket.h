// Connections of a group of ranks, and moving bytes over several of them at once.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstddef>
#include <span>
#include <string>

namespace weft::comm {

using Deadline = std::chrono::steady_clock::time_point;

// A file descriptor that is closed with it.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(other.Release()) {}
  Socket& operator=(Socket&& other) noexcept;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket();
  int fd() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  int fd_ = -1;
};

// "unix:/path" or "host:port" with a numeric host ("[::1]:80"). All sockets are non-blocking.
absl::Status CheckAddress(const std::string& address);
absl::StatusOr<Socket> ListenAt(const std::string& address, int backlog);
// Where it listens: `text` with the port that the kernel chose for port 0.
absl::StatusOr<std::string> ListeningAt(const Socket& listener, const std::string& text);
// This machine's address, numeric and without a port, on the way to "host:port" (a name is looked
// up); nothing is sent.
absl::StatusOr<std::string> OwnHostTowards(const std::string& address);
// Tries again until somebody listens there or the deadline has passed.
absl::StatusOr<Socket> ConnectTo(const std::string& address, Deadline deadline);
// An empty socket when the deadline has passed.
absl::StatusOr<Socket> AcceptFrom(const Socket& listener, Deadline deadline);

// What goes over one connection in one call. Spans shrink as bytes move.
struct Traffic {
  const Socket* socket = nullptr;
  std::span<const std::byte> head, body;  // to send, head first
  std::span<std::byte> in;                // to receive
  bool done() const { return head.empty() && body.empty() && in.empty(); }
};

// Moves bytes until all are done. An error of a connection, its end (kUnavailable), `wake` readable
// (kCancelled) or the deadline (kDeadlineExceeded) end it earlier; `at` is then the traffic that
// was not done.
absl::Status Move(std::span<Traffic> traffic, const Socket& wake, Deadline deadline, size_t* at);

}  // namespace weft::comm
