#include "bench/gateway/sse_client.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>

namespace weft::bench {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void Die(const std::string& why) {
  fmt::print(stderr, "bench_sse: {}\n", why);
  std::exit(1);
}

// One request at a time; its answer is parsed as it comes.
class Connection {
 public:
  explicit Connection(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int on = 1;
    if (fd_ < 0 || connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0) {
      Die("cannot connect to the gateway");
    }
  }
  ~Connection() { close(fd_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int fd() const { return fd_; }

  void Send(const std::string& request, SseResult* result) {
    result_ = result;
    in_head_ = true;
    done_event_ = false;
    chunk_left_ = 0;
    if (send(fd_, request.data(), request.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(request.size())) {
      Die("cannot send a request");
    }
  }

  enum class State { kBusy, kFree, kClosed };

  // Reads what is there. The gateway may close a connection that waited long for a request.
  State Read() {
    char buffer[64 << 10];
    const ssize_t n = recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return State::kBusy;
    if (n <= 0 && result_ == nullptr) return State::kClosed;
    if (n <= 0 || result_ == nullptr) Die("the gateway broke an answer off");
    result_->bytes += static_cast<uint64_t>(n);
    raw_.append(buffer, static_cast<size_t>(n));
    return Parse() ? State::kFree : State::kBusy;
  }

 private:
  bool Parse() {  // true: the answer is complete
    size_t at = 0;
    if (in_head_) {
      const size_t end = raw_.find("\r\n\r\n");
      if (end == std::string::npos) return false;
      if (raw_.compare(0, 12, "HTTP/1.1 200") != 0 ||
          raw_.find("Transfer-Encoding: chunked") > end) {
        Die("not a streamed answer: " + raw_.substr(0, 2000));
      }
      in_head_ = false;
      at = end + 4;
    }
    bool complete = false;
    while (!complete) {
      if (chunk_left_ > 0) {  // with the CRLF that follows
        if (raw_.size() - at < chunk_left_) break;
        Event(std::string_view(raw_).substr(at, chunk_left_ - 2));
        at += chunk_left_;
        chunk_left_ = 0;
        continue;
      }
      const size_t line = raw_.find("\r\n", at);
      if (line == std::string::npos) break;
      size_t size = 0;
      std::from_chars(raw_.data() + at, raw_.data() + line, size, 16);
      if (size == 0) {
        if (raw_.size() < line + 4) break;
        at = line + 4;
        complete = true;
      } else {
        chunk_left_ = size + 2;
        at = line + 2;
      }
    }
    raw_.erase(0, at);
    if (!complete) return false;
    if (!done_event_) Die("an answer ended without [DONE]");
    result_->end = Clock::now();
    result_ = nullptr;
    return true;
  }

  // The gateway may put several events into one chunk, and never one into several.
  void Event(std::string_view chunk) {
    static constexpr std::string_view kText = "\"text\":\"";
    static constexpr std::string_view kTokens = "\"completion_tokens\":";
    while (!chunk.empty()) {
      const size_t end = chunk.find("\n\n");
      if (end == std::string_view::npos) Die("half an event: " + std::string(chunk));
      const std::string_view event = chunk.substr(0, end);
      chunk.remove_prefix(end + 2);
      if (event.find("\"error\":{") != std::string_view::npos) Die("error: " + std::string(event));
      ++result_->events;
      if (event == "data: [DONE]") done_event_ = true;
      const size_t text = event.find(kText);
      if (result_->first_text == Time{} && text != std::string_view::npos &&
          event[text + kText.size()] != '"') {
        result_->first_text = Clock::now();
      }
      if (const size_t tokens = event.find(kTokens); tokens != std::string_view::npos) {
        std::from_chars(event.data() + tokens + kTokens.size(), event.data() + event.size(),
                        result_->tokens);
      }
    }
  }

  const int fd_;
  SseResult* result_ = nullptr;
  std::string raw_;
  size_t chunk_left_ = 0;
  bool in_head_ = false;
  bool done_event_ = false;
};

std::string RequestText(const SseTarget& target) {
  const std::string body = fmt::format(
      R"({{"model":"synthetic","prompt":"def fibonacci(n):","max_tokens":{},"stream":true,)"
      R"("stream_options":{{"include_usage":true}}}})",
      target.max_tokens);
  return fmt::format(
      "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n"
      "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
      target.key, body.size(), body);
}

}  // namespace

std::vector<SseResult> RunSse(const SseTarget& target,
                              const std::vector<std::chrono::nanoseconds>& arrivals) {
  const std::string request = RequestText(target);
  std::vector<SseResult> results(arrivals.size());
  std::vector<std::unique_ptr<Connection>> connections;
  std::vector<Connection*> free;
  const int poll = epoll_create1(0);
  const int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  epoll_event added{};
  added.events = EPOLLIN;
  epoll_ctl(poll, EPOLL_CTL_ADD, timer, &added);  // data.ptr is null for the timer
  const auto connect_one = [&] {
    connections.push_back(std::make_unique<Connection>(target.port));
    added.data.ptr = connections.back().get();
    epoll_ctl(poll, EPOLL_CTL_ADD, connections.back()->fd(), &added);
    free.push_back(connections.back().get());
  };
  // What is sent at once gets its connections before the clock starts.
  size_t ready = 64;
  while (ready < arrivals.size() && arrivals[ready] == arrivals[0]) ++ready;
  for (size_t i = 0; i < ready; ++i) connect_one();
  const Time start = Clock::now() + std::chrono::milliseconds(50);
  size_t sent = 0;
  size_t finished = 0;
  while (finished < results.size()) {
    while (sent < results.size() && start + arrivals[sent] <= Clock::now()) {
      if (free.empty()) connect_one();
      results[sent].due = start + arrivals[sent];
      free.back()->Send(request, &results[sent]);
      free.pop_back();
      ++sent;
    }
    if (sent < results.size()) {
      const auto at = (start + arrivals[sent]).time_since_epoch();
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(at);
      itimerspec spec{};
      spec.it_value.tv_sec = seconds.count();
      spec.it_value.tv_nsec = std::chrono::nanoseconds(at - seconds).count();
      timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, nullptr);
    }
    epoll_event events[128];
    const int n = epoll_wait(poll, events, 128, 30'000);
    if (n == 0) Die("nothing came for 30 s");
    for (int i = 0; i < n; ++i) {
      auto* connection = static_cast<Connection*>(events[i].data.ptr);
      if (connection == nullptr) {
        uint64_t expirations;
        [[maybe_unused]] const ssize_t got = read(timer, &expirations, sizeof(expirations));
        continue;
      }
      const Connection::State state = connection->Read();
      if (state == Connection::State::kFree) {
        free.push_back(connection);
        ++finished;
      } else if (state == Connection::State::kClosed) {
        std::erase(free, connection);
        epoll_ctl(poll, EPOLL_CTL_DEL, connection->fd(), nullptr);
      }
    }
  }
  close(timer);
  close(poll);
  return results;
}

std::vector<SseResult> RunClosedLoop(const SseTarget& target, size_t streams,
                                     std::chrono::nanoseconds duration) {
  const std::string request = RequestText(target);
  std::deque<SseResult> results;  // does not move what connections write to
  std::vector<std::unique_ptr<Connection>> connections;
  const int poll = epoll_create1(0);
  const auto send = [&](Connection& connection) {
    results.emplace_back().due = Clock::now();
    connection.Send(request, &results.back());
  };
  const Time end = Clock::now() + duration;
  for (size_t i = 0; i < streams; ++i) {
    connections.push_back(std::make_unique<Connection>(target.port));
    epoll_event added{};
    added.events = EPOLLIN;
    added.data.ptr = connections.back().get();
    epoll_ctl(poll, EPOLL_CTL_ADD, connections.back()->fd(), &added);
    send(*connections.back());
  }
  size_t running = streams;
  while (running > 0) {
    epoll_event events[128];
    const int n = epoll_wait(poll, events, 128, 30'000);
    if (n == 0) Die("nothing came for 30 s");
    for (int i = 0; i < n; ++i) {
      auto& connection = *static_cast<Connection*>(events[i].data.ptr);
      if (connection.Read() != Connection::State::kFree) continue;
      if (Clock::now() < end) {
        send(connection);
      } else {
        --running;
      }
    }
  }
  close(poll);
  return {results.begin(), results.end()};
}

}  // namespace weft::bench
