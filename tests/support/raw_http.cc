#include "tests/support/raw_http.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <utility>

namespace weft::test {

using Clock = std::chrono::steady_clock;

RawHttp::RawHttp(uint16_t port, const char* source) {
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (source != nullptr) {
    sockaddr_in from{};
    from.sin_family = AF_INET;
    if (inet_pton(AF_INET, source, &from.sin_addr) != 1 ||
        bind(fd_, reinterpret_cast<sockaddr*>(&from), sizeof(from)) != 0) {
      close(fd_);
      throw std::runtime_error(fmt::format("cannot connect from {}", source));
    }
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    close(fd_);
    throw std::runtime_error("cannot connect to port " + std::to_string(port));
  }
}

RawHttp::~RawHttp() { Close(); }

bool RawHttp::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = Write(bytes);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

ssize_t RawHttp::Write(std::string_view bytes) {
  return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

ssize_t RawHttp::Read(char* bytes, size_t size) { return recv(fd_, bytes, size, 0); }

void RawHttp::ShutdownSend() { shutdown(fd_, SHUT_WR); }

void RawHttp::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void RawHttp::Reset() {
  const linger hard{1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  Close();
}

void RawHttp::SetReceiveBuffer(int bytes) {
  setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

bool RawHttp::Fill(Clock::time_point end) {
  if (eof_) return false;
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
  pollfd fd{fd_, POLLIN, 0};
  if (!Pending() && (left <= 0 || poll(&fd, 1, static_cast<int>(left)) <= 0)) return false;
  char bytes[16384];
  const ssize_t n = Read(bytes, sizeof(bytes));
  if (n <= 0) {
    eof_ = true;
    return false;
  }
  buffer_.append(bytes, static_cast<size_t>(n));
  return true;
}

std::string RawHttp::ReadUntil(std::string_view until, std::chrono::milliseconds wait) {
  const auto end = Clock::now() + wait;
  size_t at;
  while ((at = buffer_.find(until)) == std::string::npos) {
    if (!Fill(end)) return std::exchange(buffer_, {});
  }
  std::string out = buffer_.substr(0, at + until.size());
  buffer_.erase(0, at + until.size());
  return out;
}

std::string RawHttp::ReadToEnd(std::chrono::milliseconds wait) {
  const auto end = Clock::now() + wait;
  while (Fill(end)) {
  }
  return std::exchange(buffer_, {});
}

bool RawHttp::PeerClosed(std::chrono::milliseconds wait) {
  const auto end = Clock::now() + wait;
  while (Fill(end)) {
  }
  return eof_;
}

std::string RawHttp::Answer::Header(std::string_view name) const {
  size_t at = 0;
  while ((at = head.find("\r\n", at)) != std::string::npos) {
    at += 2;
    if (head.size() > at + name.size() && head[at + name.size()] == ':' &&
        strncasecmp(head.data() + at, name.data(), name.size()) == 0) {
      const size_t begin = head.find_first_not_of(' ', at + name.size() + 1);
      return head.substr(begin, head.find("\r\n", begin) - begin);
    }
  }
  return {};
}

RawHttp::Answer RawHttp::ReadAnswer(std::chrono::milliseconds wait) {
  Answer answer;
  answer.head = ReadUntil("\r\n\r\n", wait);
  if (answer.head.size() < 13 || answer.head.compare(0, 5, "HTTP/") != 0) return answer;
  answer.status = std::atoi(answer.head.c_str() + 9);
  if (answer.status == 100) return ReadAnswer(wait);
  const auto end = Clock::now() + wait;
  const std::string length = answer.Header("Content-Length");
  if (!length.empty()) {
    const size_t n = std::strtoull(length.c_str(), nullptr, 10);
    while (buffer_.size() < n && Fill(end)) {
    }
    answer.complete = buffer_.size() >= n;
    answer.body = buffer_.substr(0, n);
    buffer_.erase(0, n);
  } else if (answer.Header("Transfer-Encoding") == "chunked") {
    while (true) {
      const std::string line = ReadUntil("\r\n", wait);
      if (line.size() < 3 || line.substr(line.size() - 2) != "\r\n") return answer;
      const size_t n = std::strtoull(line.c_str(), nullptr, 16);
      while (buffer_.size() < n + 2 && Fill(end)) {
      }
      if (buffer_.size() < n + 2) return answer;
      answer.body += buffer_.substr(0, n);
      buffer_.erase(0, n + 2);
      if (n == 0) break;
    }
    answer.complete = true;
  } else if (answer.status == 204 || answer.status == 304) {
    answer.complete = true;
  } else {
    answer.body = ReadToEnd(wait);
    answer.complete = eof_;
  }
  return answer;
}

RawHttp::Answer HttpRequest(uint16_t port, std::string_view method, std::string_view target,
                            std::string_view body, std::string_view headers, const char* source) {
  RawHttp client(port, source);
  client.Send(fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}", method,
                          target, headers));
  if (!body.empty() || method == "POST")
    client.Send(fmt::format("Content-Length: {}\r\n", body.size()));
  client.Send("\r\n");
  client.Send(body);
  return client.ReadAnswer(std::chrono::seconds(30));
}

}  // namespace weft::test
