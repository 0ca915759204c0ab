#include "libs/http/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>

#include "libs/base/status.h"

namespace weft::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;

constexpr std::chrono::milliseconds kSweepInterval{100};
constexpr std::chrono::milliseconds kPeerPollInterval{100};
constexpr std::chrono::milliseconds kLingerTime{2'000};
constexpr std::chrono::milliseconds kHalfClosedGrace{5'000};
constexpr size_t kLingerBytes = 64 << 20;
// A refused request with a body up to this size is read to its end, so that the connection lives
// on.
constexpr size_t kDiscardBodyBytes = 64 << 10;

auto Await(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

std::string_view View(beast::string_view s) { return {s.data(), s.size()}; }

bool StartsWith(std::string_view s, std::string_view prefix) {
  return s.substr(0, prefix.size()) == prefix;
}

// What HTTP asks of a head beyond its grammar. An empty answer is good.
std::string_view HeadProblem(Request& request) {
  if (request.version >= 11 && request.headers.Count("Host") != 1) {
    return "exactly one Host header is required";
  }
  if (request.headers.Count("Content-Length") > 1) return "more than one Content-Length";
  const size_t encodings = request.headers.Count("Transfer-Encoding");
  if (encodings > 1 ||
      (encodings == 1 && !EqualsIgnoreCase(request.headers.Get("Transfer-Encoding"), "chunked"))) {
    return "the only Transfer-Encoding known is chunked";
  }
  if (encodings == 1 && request.headers.Has("Content-Length")) {
    return "Content-Length and Transfer-Encoding together";
  }
  if (encodings == 1 && request.version < 11) return "Transfer-Encoding in HTTP/1.0";
  std::string_view target = request.target;
  if (StartsWith(target, "http://") || StartsWith(target, "https://")) {  // absolute form
    const size_t slash = target.find('/', target.find("//") + 2);
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  if (target.empty() || (target.front() != '/' && target != "*")) {
    return "the request target must begin with '/'";
  }
  const size_t mark = target.find('?');
  request.path = target.substr(0, mark);
  if (mark != std::string_view::npos) request.query = target.substr(mark + 1);
  return {};
}

}  // namespace

void IoThread::Sweep() {
  sweep.expires_after(kSweepInterval);
  sweep.async_wait([this](const error_code& error) {
    if (error || stopping) return;
    const auto now = std::chrono::steady_clock::now();
    for (Connection* connection : connections) connection->CheckDeadline(now);
    Sweep();
  });
}

// Most answers are complete before their connection looks for them: only one that waits is woken.
class Connection::WaitWaker final : public Waker {
 public:
  WaitWaker(std::weak_ptr<Connection> connection, asio::io_context& context)
      : connection_(std::move(connection)), context_(context) {}
  void Wake() override {
    if (!waiting_.exchange(false)) return;
    asio::post(context_, [weak = connection_] {
      if (auto self = weak.lock()) self->wake_.cancel();
    });
  }
  // The connection's thread. Say so before the last look at the answer: an answer that changes
  // after that look finds the connection waiting.
  void SetWaiting(bool waiting) { waiting_.store(waiting); }

 private:
  const std::weak_ptr<Connection> connection_;
  asio::io_context& context_;
  std::atomic<bool> waiting_{false};
};

Connection::Connection(asio::ip::tcp::socket socket, IoThread& io, std::shared_ptr<ServerCore> core)
    : socket_(std::move(socket)),
      io_(io),
      core_(std::move(core)),
      wake_(io.context),
      peer_poll_(io.context) {
  error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  const auto remote = socket_.remote_endpoint(ignored);
  remote_address_ = remote.address().to_string();
  remote_port_ = remote.port();
  io_.connections.insert(this);
}

Connection::~Connection() {
  io_.connections.erase(this);
  core_->connections.fetch_sub(1);
}

void Connection::Start() {
  waker_ = std::make_shared<WaitWaker>(weak_from_this(), io_.context);
  asio::co_spawn(
      io_.context, [self = shared_from_this()]() { return self->Run(); }, asio::detached);
}

void Connection::SetDeadline(std::chrono::milliseconds from_now) {
  timed_out_ = false;
  deadline_ = Clock::now() + from_now;
}

void Connection::CheckDeadline(Clock::time_point now) {
  if (now < deadline_) return;
  NoDeadline();
  timed_out_ = true;
  error_code ignored;
  socket_.cancel(ignored);
  wake_.cancel();
}

void Connection::OnDrain() {
  if (!idle_) return;
  stopping_ = true;
  error_code ignored;
  socket_.cancel(ignored);
}

void Connection::OnStop() {
  stopping_ = true;
  if (current_) current_->Close(CloseReason::kServerStop);
  error_code ignored;
  socket_.close(ignored);
  wake_.cancel();
  peer_poll_.cancel();
}

void Connection::Break() {
  error_code ignored;
  socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  socket_.close(ignored);
}

asio::awaitable<void> Connection::Run() {
  // Third-party edge: out of memory or a Beast exception ends this connection, not the process.
  try {
    SetDeadline(core_->options.header_timeout);
    while (!stopping_ && co_await ServeOne() == Next::kAgain) {
      SetDeadline(core_->options.idle_timeout);
    }
  } catch (const std::exception&) {
    if (current_) current_->Close(CloseReason::kServerStop);
  }
  if (current_) {
    current_->Detach();
    current_ = nullptr;
  }
  EndRequest();
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  socket_.close(ignored);
}

void Connection::BeginRequest() {
  if (!std::exchange(in_request_, true)) core_->active_requests.fetch_add(1);
  request_started_ = Clock::now();
}

void Connection::EndRequest() {
  if (std::exchange(in_request_, false)) core_->active_requests.fetch_sub(1);
}

std::shared_ptr<Answer> Connection::NewAnswer(Request request, bool keep_alive) {
  return std::make_shared<Answer>(core_, std::move(request), keep_alive, waker_);
}

asio::awaitable<Connection::Next> Connection::ServeOne() {
  error_code error;
  if (buffer_.size() == 0) {  // idle until the first byte
    const size_t n = co_await socket_.async_read_some(buffer_.prepare(4096), Await(error));
    if (error) co_return Next::kClose;
    buffer_.commit(n);
  }
  if (stopping_) co_return Next::kClose;
  idle_ = false;
  struct Busy {
    bool& idle;
    ~Busy() { idle = true; }
  } busy{idle_};
  SetDeadline(core_->options.header_timeout);
  beast::http::request_parser<beast::http::string_body> parser;
  parser.header_limit(static_cast<uint32_t>(core_->options.max_header_bytes));
  parser.body_limit(boost::none);
  parser.eager(false);
  // The head is mostly here whole: then nothing needs to wait for it.
  if (buffer_.size() > 0) {
    const size_t n = parser.put(buffer_.data(), error);
    buffer_.consume(n);
    if (error == beast::http::error::need_more) error = {};
  }
  if (!error && !parser.is_header_done()) {
    co_await beast::http::async_read_header(socket_, buffer_, parser, Await(error));
  }
  if (error) {
    Request request;
    if (timed_out_ && !stopping_) {
      co_return co_await Refuse(std::move(request), 408, "header_timeout",
                                "The request's head did not arrive in time.", false);
    }
    if (error == beast::http::error::header_limit || error == beast::http::error::buffer_overflow) {
      co_return co_await Refuse(std::move(request), 431, "header_too_large",
                                "The request's head is too large.", true);
    }
    if (error.category() ==
            beast::http::make_error_code(beast::http::error::bad_method).category() &&
        error != beast::http::error::end_of_stream &&
        error != beast::http::error::partial_message) {
      co_return co_await Refuse(std::move(request), 400, "bad_request",
                                "The request is not valid HTTP/1.1.", true);
    }
    co_return Next::kClose;
  }
  if (core_->hooks.request_start) core_->hooks.request_start();
  BeginRequest();

  Request request;
  const auto& message = parser.get();
  request.method = View(message.method_string());
  request.target = View(message.target());
  request.version = static_cast<int>(message.version());
  request.remote_address = remote_address_;
  request.remote_port = remote_port_;
  request.headers.Reserve(8);
  for (const auto& field : message)
    request.headers.Add(View(field.name_string()), View(field.value()));
  const bool keep_alive = parser.keep_alive();
  const bool has_body = parser.chunked() || parser.content_length().value_or(0) > 0;
  if (const std::string_view problem = HeadProblem(request); !problem.empty()) {
    const std::string text = fmt::format("Bad request: {}.", problem);
    co_return co_await Refuse(std::move(request), 400, "bad_request", text, true);
  }

  Router::Match match = core_->router->Find(request.method, request.path);
  if (match.route != nullptr) request.route = match.route->pattern;
  request.params = std::move(match.params);
  std::optional<Response> refusal;
  if (core_->hooks.header_filter) refusal = core_->hooks.header_filter(request, match.route);
  if (!refusal && match.route == nullptr) {
    if (match.allow.empty()) {
      refusal = core_->hooks.error(
          404, "not_found",
          fmt::format("Unknown request URL: {} {}", request.method, request.path));
    } else {
      refusal =
          core_->hooks.error(405, "method_not_allowed",
                             fmt::format("Not allowed to {} on {}", request.method, request.path));
      refusal->headers.Set("Allow", match.allow);
    }
  }
  size_t limit = core_->options.max_body_bytes;
  if (match.route != nullptr && match.route->max_body_bytes > 0)
    limit = match.route->max_body_bytes;
  if (refusal) limit = kDiscardBodyBytes;
  const uint64_t announced = parser.content_length().value_or(0);
  if (has_body && announced > limit) {
    if (refusal) {
      auto answer = NewAnswer(std::move(request), false);
      current_ = answer;
      answer->Send(std::move(*refusal));
      co_return co_await Answered(std::move(answer), true);
    }
    const std::string text =
        fmt::format("The request body has {} bytes; the limit is {}.", announced, limit);
    co_return co_await Refuse(std::move(request), 413, "body_too_large", text, true);
  }
  if (has_body) {
    const std::string_view expect = request.headers.Get("Expect");
    if (!expect.empty()) {
      if (!EqualsIgnoreCase(expect, "100-continue")) {
        co_return co_await Refuse(std::move(request), 417, "expectation_failed",
                                  "The only expectation known is 100-continue.", true);
      }
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      co_await asio::async_write(socket_, asio::buffer(kContinue), Await(error));
      if (error) co_return Next::kClose;
    }
    SetDeadline(core_->options.body_timeout);
    parser.body_limit(limit);
    co_await beast::http::async_read(socket_, buffer_, parser, Await(error));
    if (error) {
      const bool too_large = error == beast::http::error::body_limit;
      if (refusal && (too_large || timed_out_)) {
        auto answer = NewAnswer(std::move(request), false);
        current_ = answer;
        answer->Send(std::move(*refusal));
        co_return co_await Answered(std::move(answer), true);
      }
      if (too_large) {
        const std::string text =
            fmt::format("The request body is over the limit of {} bytes.", limit);
        co_return co_await Refuse(std::move(request), 413, "body_too_large", text, true);
      }
      if (timed_out_ && !stopping_) {
        co_return co_await Refuse(std::move(request), 408, "body_timeout",
                                  "The request's body did not arrive in time.", false);
      }
      if (error == asio::error::eof || error == beast::http::error::partial_message) {
        co_return co_await Refuse(std::move(request), 400, "body_cut",
                                  "The request's body ended before its announced length.", false);
      }
      if (error.category() ==
          beast::http::make_error_code(beast::http::error::bad_method).category()) {
        co_return co_await Refuse(std::move(request), 400, "bad_request",
                                  "The request's body is not valid HTTP/1.1.", true);
      }
      auto answer = NewAnswer(std::move(request), false);
      current_ = answer;
      answer->Abort();
      co_return co_await Answered(std::move(answer), false);
    }
    request.body = std::move(parser.get().body());
  }
  NoDeadline();

  auto answer = NewAnswer(std::move(request), keep_alive);
  current_ = answer;
  if (refusal) {
    answer->Send(std::move(*refusal));
  } else {
    // A handler that throws drops its exchange, which answers 500.
    try {
      match.route->handler(std::make_shared<AnswerHandle>(answer));
    } catch (const std::exception&) {
    }
  }
  co_return co_await Answered(std::move(answer), false);
}

asio::awaitable<Connection::Next> Connection::Refuse(Request request, int status,
                                                     std::string_view code,
                                                     std::string_view message, bool body_left) {
  if (request.method.empty()) {  // the head itself was bad: the hooks did not see a beginning yet
    if (core_->hooks.request_start) core_->hooks.request_start();
    BeginRequest();
  }
  auto answer = NewAnswer(std::move(request), false);
  current_ = answer;
  answer->Send(core_->hooks.error(status, code, message));
  co_return co_await Answered(std::move(answer), body_left);
}

// Writes the answer while it is made; returns when it is complete or the client is gone.
asio::awaitable<Connection::Next> Connection::Answered(std::shared_ptr<Answer> answer,
                                                       bool body_left) {
  error_code error;
  bool whole = false;
  bool grace = false;
  while (true) {
    Answer::Work work = answer->Take();
    if (work.aborted) break;
    if (!work.bytes.empty()) {
      const size_t sent = TrySend(work.bytes);
      answer->Wrote(sent);
      if (sent < work.bytes.size() && !co_await WriteAll(*answer, std::move(work.bytes), sent)) {
        break;
      }
    }
    if (work.complete) {
      whole = true;
      break;
    }
    waker_->SetWaiting(true);
    if (answer->has_work()) {
      waker_->SetWaiting(false);
      continue;
    }
    if (!watching_) WatchPeer(answer);
    if (answer->closed()) {
      // The peer closed its side. A handler may still answer, but not for ever.
      if (!grace) SetDeadline(kHalfClosedGrace);
      grace = true;
      if (timed_out_) break;
    }
    wake_.expires_at(Clock::time_point::max());
    co_await wake_.async_wait(Await(error));
    waker_->SetWaiting(false);
    if (stopping_ && answer->closed()) break;
  }
  NoDeadline();
  waker_->SetWaiting(false);
  if (std::exchange(watching_, false)) {
    peer_poll_.cancel();
    if (whole && !answer->closed()) {
      socket_.cancel(error);  // ends the watch for the peer's close; nothing else is pending
    }
  }
  current_ = nullptr;
  answer->Detach();
  EndRequest();
  if (core_->hooks.access_log) {
    const int status = answer->status() == 0 ? 499 : answer->status();
    core_->hooks.access_log(
        {&answer->request(), status, answer->body_bytes(), Clock::now() - request_started_});
  }
  if (!whole) {
    Break();
    co_return Next::kClose;
  }
  if (body_left) {
    co_await Linger();
    co_return Next::kClose;
  }
  co_return answer->keep_alive() && !answer->closed() ? Next::kAgain : Next::kClose;
}

size_t Connection::TrySend(std::string_view bytes) {
  const ssize_t n =
      send(socket_.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return n > 0 ? static_cast<size_t>(n) : 0;  // an error shows again in WriteAll
}

asio::awaitable<bool> Connection::WriteAll(Answer& answer, std::string bytes, size_t done) {
  error_code error;
  while (done < bytes.size()) {
    SetDeadline(core_->options.write_timeout);
    const size_t n = co_await socket_.async_write_some(
        asio::buffer(bytes.data() + done, bytes.size() - done), Await(error));
    done += n;
    answer.Wrote(n);
    if (error) {
      answer.Close(stopping_    ? CloseReason::kServerStop
                   : timed_out_ ? CloseReason::kStalled
                                : CloseReason::kClientGone);
      co_return false;
    }
  }
  NoDeadline();
  co_return true;
}

// The client is still sending what will not be read. Closing now would reset the connection and
// could destroy the answer before the client sees it (RFC 9112 section 9.6).
asio::awaitable<void> Connection::Linger() {
  error_code error;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, error);
  SetDeadline(kLingerTime);
  std::string sink(64 << 10, '\0');
  size_t total = 0;
  while (!error && total < kLingerBytes) {
    total += co_await socket_.async_read_some(asio::buffer(sink), Await(error));
  }
}

void Connection::PeerGone(const std::weak_ptr<Answer>& weak) {
  watching_ = true;  // once is enough
  if (auto answer = weak.lock(); answer && answer == current_) {
    answer->Close(CloseReason::kClientGone);
    wake_.cancel();
  }
}

// Notices that the peer closes while a handler works. Data that comes meanwhile is a pipelined
// request: it stays in the socket, and the state of the peer is then polled.
void Connection::WatchPeer(std::weak_ptr<Answer> weak) {
  watching_ = true;
  socket_.async_wait(asio::ip::tcp::socket::wait_read,
                     [self = shared_from_this(), weak = std::move(weak)](const error_code& error) {
                       auto answer = weak.lock();
                       if (!answer || answer != self->current_) return;
                       if (error) {
                         if (error != asio::error::operation_aborted)
                           self->PeerGone(weak);
                         else
                           self->PollPeer(weak);  // a deadline cancelled it, the answer goes on
                         return;
                       }
                       char byte;
                       const ssize_t n =
                           recv(self->socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
                       if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
                         self->PeerGone(weak);
                       } else {
                         self->PollPeer(weak);
                       }
                     });
}

void Connection::PollPeer(std::weak_ptr<Answer> weak) {
  peer_poll_.expires_after(kPeerPollInterval);
  peer_poll_.async_wait(
      [self = shared_from_this(), weak = std::move(weak)](const error_code& error) {
        auto answer = weak.lock();
        if (error || !answer || answer != self->current_) return;
        pollfd fd{self->socket_.native_handle(), POLLRDHUP, 0};
        if (poll(&fd, 1, 0) < 0 || (fd.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0) {
          self->PeerGone(weak);
        } else {
          self->PollPeer(weak);
        }
      });
}

}  // namespace weft::http
