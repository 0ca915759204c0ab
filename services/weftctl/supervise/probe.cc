#include "services/weftctl/supervise/probe.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace weft::supervise {
namespace {

constexpr size_t kMostBytes = 16 * 1024;

// Waits for the events until the deadline.
bool WaitFor(int fd, short events, std::chrono::steady_clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - std::chrono::steady_clock::now());
  if (left.count() <= 0) return false;
  pollfd poll_fd{fd, events, 0};
  return poll(&poll_fd, 1, static_cast<int>(left.count())) == 1;
}

std::string Exchange(int fd, const sockaddr* address, socklen_t length, const std::string& request,
                     std::chrono::steady_clock::time_point deadline) {
  if (connect(fd, address, length) != 0) {
    if (errno != EINPROGRESS || !WaitFor(fd, POLLOUT, deadline)) return "";
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) return "";
  }
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return "";
  }
  std::string reply;
  char buffer[4096];
  while (reply.size() < kMostBytes && WaitFor(fd, POLLIN, deadline)) {
    const ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
    if (got <= 0) break;
    reply.append(buffer, static_cast<size_t>(got));
  }
  return reply;
}

}  // namespace

ProbeResult HttpGet(const std::string& host, uint16_t port, const std::string& path,
                    std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::string literal = host;
  if (host == "localhost" || host == "0.0.0.0" || host.empty()) literal = "127.0.0.1";
  if (host == "::") literal = "::1";
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  const sockaddr* address = nullptr;
  socklen_t length = 0;
  if (inet_pton(AF_INET, literal.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    address = reinterpret_cast<const sockaddr*>(&v4);
    length = sizeof(v4);
  } else if (inet_pton(AF_INET6, literal.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    address = reinterpret_cast<const sockaddr*>(&v6);
    length = sizeof(v6);
  } else {
    return {};
  }
  const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return {};
  const std::string reply =
      Exchange(fd, address, length,
               fmt::format("GET {} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n\r\n", path,
                           literal, port),
               deadline);
  close(fd);
  ProbeResult result;
  if (reply.rfind("HTTP/1.", 0) != 0 || reply.size() < 12) return result;
  result.status = std::atoi(reply.c_str() + 9);
  if (const size_t end = reply.find("\r\n\r\n"); end != std::string::npos) {
    result.body = reply.substr(end + 4, 4096);
  }
  return result;
}

}  // namespace weft::supervise
