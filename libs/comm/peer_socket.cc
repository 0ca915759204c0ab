#include "libs/comm/peer_socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "libs/base/status.h"

namespace weft::comm {
namespace {

constexpr std::string_view kUnix = "unix:";

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  bool unix_path = false;
};

absl::StatusOr<Address> Parse(const std::string& text) {
  Address address;
  if (text.starts_with(kUnix)) {
    auto& un = reinterpret_cast<sockaddr_un&>(address.storage);
    const std::string path = text.substr(kUnix.size());
    if (path.empty() || path.size() >= sizeof(un.sun_path)) {
      return InvalidArgument("address {}: expected a path of 1 to {} bytes", text,
                             sizeof(un.sun_path) - 1);
    }
    un.sun_family = AF_UNIX;
    std::memcpy(un.sun_path, path.c_str(), path.size() + 1);
    address.size = sizeof(sockaddr_un);
    address.unix_path = true;
    return address;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon + 1 == text.size()) {
    return InvalidArgument("address {}: expected unix:/path or host:port", text);
  }
  std::string host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), text.c_str() + colon + 1, &hints, &found);
  if (error != 0) return InvalidArgument("address {}: {}", text, gai_strerror(error));
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  freeaddrinfo(found);
  return address;
}

absl::StatusOr<Socket> Open(const Address& address) {
  const int family = address.storage.ss_family;
  Socket socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return Internal("socket: {}", std::strerror(errno));
  const int on = 1;
  if (!address.unix_path) {
    // Sums are small and somebody waits for each.
    setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  }
  return socket;
}

// Milliseconds until then, rounded up; 0 when it has passed.
int Left(Deadline deadline) {
  const auto left = deadline - std::chrono::steady_clock::now();
  if (left <= std::chrono::nanoseconds(0)) return 0;
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::min<int64_t>(ms, 60'000));
}

bool Again(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

absl::Status SendSome(const Socket& socket, std::span<const std::byte>& bytes) {
  const ssize_t sent = send(socket.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent < 0) {
    return Again(errno) ? absl::OkStatus() : Unavailable("send: {}", std::strerror(errno));
  }
  bytes = bytes.subspan(static_cast<size_t>(sent));
  return absl::OkStatus();
}

absl::Status ReceiveSome(const Socket& socket, std::span<std::byte>& bytes) {
  const ssize_t got = recv(socket.fd(), bytes.data(), bytes.size(), 0);
  if (got == 0) return Unavailable("its process has ended");
  if (got < 0) {
    return Again(errno) ? absl::OkStatus() : Unavailable("recv: {}", std::strerror(errno));
  }
  bytes = bytes.subspan(static_cast<size_t>(got));
  return absl::OkStatus();
}

}  // namespace

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
Socket::~Socket() {
  if (fd_ >= 0) close(fd_);
}

absl::Status CheckAddress(const std::string& address) { return Parse(address).status(); }

absl::StatusOr<Socket> ListenAt(const std::string& text, int backlog) {
  WEFT_ASSIGN_OR_RETURN(const Address address, Parse(text));
  WEFT_ASSIGN_OR_RETURN(Socket socket, Open(address));
  if (address.unix_path) unlink(text.c_str() + kUnix.size());
  if (bind(socket.fd(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0 ||
      listen(socket.fd(), backlog) != 0) {
    return Unavailable("cannot listen at {}: {}", text, std::strerror(errno));
  }
  return socket;
}

absl::StatusOr<std::string> ListeningAt(const Socket& listener, const std::string& text) {
  if (text.starts_with(kUnix)) return text;
  sockaddr_storage own{};
  socklen_t size = sizeof(own);
  if (getsockname(listener.fd(), reinterpret_cast<sockaddr*>(&own), &size) != 0) {
    return Internal("getsockname: {}", std::strerror(errno));
  }
  const in_port_t port = own.ss_family == AF_INET6
                             ? reinterpret_cast<const sockaddr_in6&>(own).sin6_port
                             : reinterpret_cast<const sockaddr_in&>(own).sin_port;
  return fmt::format("{}:{}", text.substr(0, text.rfind(':')), ntohs(port));
}

absl::StatusOr<std::string> OwnHostTowards(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return InvalidArgument("address {}: expected host:port", address);
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found);
  if (error != 0) return Unavailable("address {}: {}", address, gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
  const Socket socket(::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage own{};
  socklen_t size = sizeof(own);
  if (!socket || connect(socket.fd(), found->ai_addr, found->ai_addrlen) != 0 ||
      getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&own), &size) != 0) {
    return Unavailable("no way to {}: {}", address, std::strerror(errno));
  }
  char text[NI_MAXHOST] = {};
  if (getnameinfo(reinterpret_cast<const sockaddr*>(&own), size, text, sizeof(text), nullptr, 0,
                  NI_NUMERICHOST) != 0) {
    return Internal("getnameinfo of the way to {}", address);
  }
  return own.ss_family == AF_INET6 ? fmt::format("[{}]", text) : std::string(text);
}

absl::StatusOr<Socket> ConnectTo(const std::string& text, Deadline deadline) {
  constexpr std::chrono::milliseconds kPause{20};
  WEFT_ASSIGN_OR_RETURN(const Address address, Parse(text));
  while (true) {
    WEFT_ASSIGN_OR_RETURN(Socket socket, Open(address));
    const int result =
        connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address.storage), address.size);
    int error = result == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
      pollfd wait{socket.fd(), POLLOUT, 0};
      poll(&wait, 1, Left(deadline));
      socklen_t size = sizeof(error);
      getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
      if (error == 0 && wait.revents == 0) error = ETIMEDOUT;
    }
    if (error == 0) return socket;
    if (Left(deadline) == 0) {
      return Unavailable("nobody listens at {}: {}", text, std::strerror(error));
    }
    std::this_thread::sleep_for(kPause);
  }
}

absl::StatusOr<Socket> AcceptFrom(const Socket& listener, Deadline deadline) {
  while (true) {
    pollfd wait{listener.fd(), POLLIN, 0};
    const int ready = poll(&wait, 1, Left(deadline));
    if (ready == 0 && Left(deadline) == 0) return Socket();
    Socket socket(accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket) {
      const int on = 1;
      setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // of TCP only
      return socket;
    }
    if (!Again(errno) && errno != ECONNABORTED) {
      return Unavailable("accept: {}", std::strerror(errno));
    }
  }
}

absl::Status Move(std::span<Traffic> traffic, const Socket& wake, Deadline deadline, size_t* at) {
  std::vector<pollfd> waits(traffic.size() + 1);
  while (true) {
    bool all = true;
    for (size_t i = 0; i < traffic.size(); ++i) {
      const Traffic& one = traffic[i];
      const bool sends = !one.head.empty() || !one.body.empty();
      waits[i].fd = one.done() ? -1 : one.socket->fd();
      waits[i].events = static_cast<short>((sends ? POLLOUT : 0) | (one.in.empty() ? 0 : POLLIN));
      waits[i].revents = 0;
      if (all && !one.done()) *at = i;
      all = all && one.done();
    }
    if (all) return absl::OkStatus();
    waits.back() = {wake.fd(), POLLIN, 0};
    if (poll(waits.data(), waits.size(), Left(deadline)) < 0 && errno != EINTR) {
      return Internal("poll: {}", std::strerror(errno));
    }
    if ((waits.back().revents & POLLIN) != 0) {
      return MakeStatus(absl::StatusCode::kCancelled, "the group was torn down");
    }
    for (size_t i = 0; i < traffic.size(); ++i) {
      Traffic& one = traffic[i];
      if (waits[i].revents == 0) continue;
      absl::Status status;
      if ((waits[i].revents & POLLOUT) != 0) {
        status = SendSome(*one.socket, one.head.empty() ? one.body : one.head);
      }
      if (status.ok() && !one.in.empty() &&
          (waits[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        status = ReceiveSome(*one.socket, one.in);
      }
      if (status.ok() && one.in.empty() && (waits[i].revents & (POLLHUP | POLLERR)) != 0 &&
          !one.done()) {
        status = Unavailable("its process has ended");
      }
      if (!status.ok()) {
        *at = i;
        return status;
      }
    }
    if (Left(deadline) == 0) {
      return MakeStatus(absl::StatusCode::kDeadlineExceeded, "too late");
    }
  }
}

}  // namespace weft::comm
