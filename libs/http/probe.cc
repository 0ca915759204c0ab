#include "libs/http/probe.h"

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "libs/base/status.h"

namespace weft::http {
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
  std::string name = host;
  if (host == "localhost" || host == "0.0.0.0" || host.empty()) name = "127.0.0.1";
  if (host == "::") name = "::1";
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(name.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return {};
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return {};
  const std::string reply = Exchange(
      fd, found->ai_addr, found->ai_addrlen,
      fmt::format("GET {} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n\r\n", path, name, port),
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

absl::Status CheckHealth(const std::string& admin_listen, const std::string& given,
                         std::chrono::milliseconds timeout) {
  const std::string url = given.empty() ? "http://" + admin_listen + "/health" : given;
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) {
    return InvalidArgument("{}: must be http://HOST[:PORT]/PATH", url);
  }
  const std::string rest = url.substr(kScheme.size());
  const size_t slash = rest.find('/');
  const std::string path = slash == std::string::npos ? "/" : rest.substr(slash);
  std::string host = rest.substr(0, slash);
  uint16_t port = 80;
  const size_t colon = host.rfind(':');
  if (colon != std::string::npos && host.find(']', colon) == std::string::npos) {
    const auto [end, error] =
        std::from_chars(host.data() + colon + 1, host.data() + host.size(), port);
    if (error != std::errc() || end != host.data() + host.size() || port == 0) {
      return InvalidArgument("{}: the port must be 1 to 65535", url);
    }
    host.resize(colon);
  }
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  const ProbeResult result = HttpGet(host, port, path, timeout);
  if (result.status == 200) return absl::OkStatus();
  if (result.status == 0) return Unavailable("{} does not answer", url);
  return Unavailable("{} answers {}: {}", url, result.status, result.body);
}

}  // namespace weft::http
