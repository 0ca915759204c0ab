#include "libs/http/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "libs/base/status.h"

namespace weft::http {
namespace {

namespace asio = boost::asio;
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

bool IoThread::CloseOneThatWaits() {
  if (waiting.empty()) return false;
  waiting.front()->Evict();
  return true;
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
    : transport_(std::move(socket), core->options.tls ? core->options.tls->Current() : nullptr),
      io_(io),
      core_(std::move(core)),
      wake_(io.context),
      peer_poll_(io.context),
      waiting_(io.waiting.end()) {
  error_code ignored;
  const auto remote = transport_.socket().remote_endpoint(ignored);
  remote_address_ = remote.address().to_string();
  remote_port_ = remote.port();
  io_.connections.insert(this);
}

Connection::~Connection() {
  io_.connections.erase(this);
  SetWaiting(false);
  CountBody(0);
  if (address_counted_) core_->addresses.Remove(IpAddress::Parse(remote_address_)->Network64());
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
  transport_.Cancel();
  wake_.cancel();
}

void Connection::OnDrain() {
  if (!idle_) return;
  stopping_ = true;
  transport_.Cancel();
}

void Connection::OnStop() {
  stopping_ = true;
  if (current_) current_->Close(CloseReason::kServerStop);
  transport_.Close();
  wake_.cancel();
  peer_poll_.cancel();
}

void Connection::Evict() {
  SetWaiting(false);
  OnStop();
}

bool Connection::CountAddress() {
  const uint32_t limit = core_->options.max_connections_per_address;
  if (limit == 0) return true;
  const auto address = IpAddress::Parse(remote_address_);
  address_counted_ = address && core_->addresses.Add(address->Network64(), limit);
  return address_counted_;
}

void Connection::SetWaiting(bool waiting) {
  if (waiting == (waiting_ != io_.waiting.end())) return;
  if (waiting) {
    waiting_ = io_.waiting.insert(io_.waiting.end(), this);
  } else {
    io_.waiting.erase(std::exchange(waiting_, io_.waiting.end()));
  }
}

void Connection::CountBody(size_t bytes) {
  core_->buffered_bytes.fetch_add(bytes - body_counted_);  // wraps round for less
  body_counted_ = bytes;
}

asio::awaitable<void> Connection::Run() {
  // Third-party edge: out of memory or an Asio exception ends this connection, not the process.
  try {
    SetDeadline(core_->options.header_timeout);
    SetWaiting(true);
    if (!co_await transport_.Handshake()) {
      core_->tls_failures.fetch_add(1);
      transport_.Close();
      co_return;
    }
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
  transport_.ShutdownSend();
  transport_.Close();
}

void Connection::BeginRequest() {
  if (!std::exchange(in_request_, true)) core_->active_requests.fetch_add(1);
  request_started_ = Clock::now();
}

void Connection::EndRequest() {
  if (std::exchange(in_request_, false)) core_->active_requests.fetch_sub(1);
  if (auto* active = std::exchange(route_active_, nullptr)) active->fetch_sub(1);
  CountBody(0);
}

std::shared_ptr<Answer> Connection::NewAnswer(Request request, bool keep_alive) {
  return std::make_shared<Answer>(core_, std::move(request), keep_alive, waker_);
}

asio::awaitable<boost::system::error_code> Connection::Feed(RequestParser& parser,
                                                            RequestParser::State state) {
  while (true) {
    if (!buffer_.empty()) {
      buffer_.erase(0, parser.Put(buffer_));
      if (state == RequestParser::State::kBody) CountBody(parser.body_bytes());
    }
    if (parser.state() != state) co_return error_code();
    if (core_->buffered_bytes.load() > core_->options.max_total_buffered_bytes) {
      co_return asio::error::no_buffer_space;
    }
    error_code error;
    co_await transport_.ReadSome(buffer_, error);
    if (error) co_return error;
  }
}

asio::awaitable<bool> Connection::Continue(const Request& request) {
  if (!request.headers.Has("Expect")) co_return true;
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  size_t done = 0;
  error_code error;
  while (done < kContinue.size() && !error) {
    done += co_await transport_.WriteSome(kContinue.substr(done), error);
  }
  co_return !error;
}

// What refuses a request by its head alone.
std::optional<Response> Connection::Admit(Request& request, const Router::Match& match,
                                          size_t header_bytes) {
  std::optional<Response> refusal;
  if (core_->hooks.header_filter) refusal = core_->hooks.header_filter(request, match.route);
  if (refusal) return refusal;
  if (match.route == nullptr) {
    if (match.allow.empty()) {
      return core_->hooks.error(
          404, "not_found",
          fmt::format("Unknown request URL: {} {}", request.method, request.path));
    }
    refusal =
        core_->hooks.error(405, "method_not_allowed",
                           fmt::format("Not allowed to {} on {}", request.method, request.path));
    refusal->headers.Set("Allow", match.allow);
    return refusal;
  }
  const RouteLimits& limits = match.route->limits;
  if (limits.max_header_bytes > 0 && header_bytes > limits.max_header_bytes) {
    return core_->hooks.error(431, "header_too_large", "The request's head is too large.");
  }
  std::atomic<uint32_t>& active = core_->route_active[match.route->index];
  if (active.fetch_add(1) >= limits.max_concurrent && limits.max_concurrent > 0) {
    active.fetch_sub(1);
    refusal = core_->hooks.error(503, "route_busy",
                                 "The server works on as many such requests as it may at once.");
    if (!refusal->headers.Has("Retry-After")) refusal->headers.Set("Retry-After", "1");
    return refusal;
  }
  route_active_ = &active;
  return std::nullopt;
}

asio::awaitable<Connection::Next> Connection::ServeOne() {
  using State = RequestParser::State;
  error_code error;
  SetWaiting(true);
  if (buffer_.empty()) {  // idle until the first byte
    co_await transport_.ReadSome(buffer_, error);
    if (error) co_return Next::kClose;
  }
  if (stopping_) co_return Next::kClose;
  idle_ = false;
  struct Busy {
    bool& idle;
    ~Busy() { idle = true; }
  } busy{idle_};
  SetDeadline(core_->options.header_timeout);
  RequestParser parser(core_->options.max_header_bytes);
  if (co_await Feed(parser, State::kHead)) {
    if (!timed_out_ || stopping_) co_return Next::kClose;
    co_return co_await Refuse(Request(), 408, "header_timeout",
                              "The request's head did not arrive in time.", false);
  }
  SetWaiting(false);
  Request& request = parser.request();
  request.remote_address = remote_address_;
  request.remote_port = remote_port_;
  request.tls = transport_.peer();
  if (parser.state() == State::kFailed && request.method.empty()) {
    const auto& failure = parser.failure();
    co_return co_await Refuse(std::move(request), failure.status, failure.code, failure.message,
                              true);
  }
  if (core_->hooks.request_start) core_->hooks.request_start();
  BeginRequest();
  if (parser.state() == State::kFailed) {
    const auto& failure = parser.failure();
    co_return co_await Refuse(std::move(request), failure.status, failure.code, failure.message,
                              true);
  }

  Router::Match match = core_->router->Find(request.method, request.path);
  if (match.route != nullptr) request.route = match.route->pattern;
  request.params = std::move(match.params);
  std::optional<Response> refusal = Admit(request, match, parser.header_bytes());
  size_t limit = core_->options.max_body_bytes;
  auto body_timeout = core_->options.body_timeout;
  if (match.route != nullptr) {
    const RouteLimits& limits = match.route->limits;
    if (limits.max_body_bytes > 0) limit = limits.max_body_bytes;
    if (limits.body_timeout.count() > 0) body_timeout = limits.body_timeout;
  }
  if (refusal) limit = kDiscardBodyBytes;
  if (const uint64_t announced = parser.content_length(); announced > limit) {
    if (refusal) co_return co_await Refuse(std::move(request), std::move(*refusal), true);
    const std::string text =
        fmt::format("The request body has {} bytes; the limit is {}.", announced, limit);
    co_return co_await Refuse(std::move(request), 413, "body_too_large", text, true);
  }
  if (parser.has_body()) {
    if (const std::string_view expect = request.headers.Get("Expect");
        !expect.empty() && !EqualsIgnoreCase(expect, "100-continue")) {
      co_return co_await Refuse(std::move(request), 417, "expectation_failed",
                                "The only expectation known is 100-continue.", true);
    }
    if (!co_await Continue(request)) co_return Next::kClose;
    SetDeadline(body_timeout);
    parser.StartBody(limit);
    error = co_await Feed(parser, State::kBody);
    if (refusal && (error || parser.state() == State::kFailed)) {
      co_return co_await Refuse(std::move(request), std::move(*refusal), true);
    }
    if (error) {
      if (timed_out_ && !stopping_) {
        co_return co_await Refuse(std::move(request), 408, "body_timeout",
                                  "The request's body did not arrive in time.", false);
      }
      if (error == asio::error::no_buffer_space) {
        co_return co_await Refuse(std::move(request), 503, "out_of_buffers",
                                  "The server holds as many bytes as it may.", true);
      }
      if (error == asio::error::eof) {
        co_return co_await Refuse(std::move(request), 400, "body_cut",
                                  "The request's body ended before its announced length.", false);
      }
      auto answer = NewAnswer(std::move(request), false);
      current_ = answer;
      answer->Abort();
      co_return co_await Answered(std::move(answer), false);
    }
    if (parser.state() == State::kFailed) {
      const auto& failure = parser.failure();
      co_return co_await Refuse(std::move(request), failure.status, failure.code, failure.message,
                                true);
    }
  }
  NoDeadline();
  if (!refusal && core_->hooks.body_filter) refusal = core_->hooks.body_filter(request);

  auto answer = NewAnswer(std::move(request), parser.keep_alive());
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

// Ends the connection: what is left of the request cannot be told from another one.
asio::awaitable<Connection::Next> Connection::Refuse(Request request, Response refusal,
                                                     bool body_left) {
  SetWaiting(false);
  if (!in_request_) {  // the head itself was bad: the hooks did not see a beginning yet
    if (core_->hooks.request_start) core_->hooks.request_start();
    BeginRequest();
  }
  auto answer = NewAnswer(std::move(request), false);
  current_ = answer;
  answer->Send(std::move(refusal));
  co_return co_await Answered(std::move(answer), body_left);
}

asio::awaitable<Connection::Next> Connection::Refuse(Request request, int status,
                                                     std::string_view code,
                                                     std::string_view message, bool body_left) {
  return Refuse(std::move(request), core_->hooks.error(status, code, message), body_left);
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
      const size_t sent = transport_.TrySend(work.bytes);
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
      transport_.Cancel();  // ends the watch for the peer's close; nothing else is pending
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
    transport_.Break();
    co_return Next::kClose;
  }
  if (body_left) {
    co_await Linger();
    co_return Next::kClose;
  }
  co_return answer->keep_alive() && !answer->closed() ? Next::kAgain : Next::kClose;
}

asio::awaitable<bool> Connection::WriteAll(Answer& answer, std::string bytes, size_t done) {
  error_code error;
  while (done < bytes.size()) {
    SetDeadline(core_->options.write_timeout);
    const size_t n = co_await transport_.WriteSome(std::string_view(bytes).substr(done), error);
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
  transport_.ShutdownSend();
  SetDeadline(kLingerTime);
  size_t total = 0;
  while (!error && total < kLingerBytes) {
    buffer_.clear();
    co_await transport_.ReadSome(buffer_, error);
    total += buffer_.size();
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
  transport_.socket().async_wait(
      asio::ip::tcp::socket::wait_read,
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
            recv(self->transport_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
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
        pollfd fd{self->transport_.socket().native_handle(), POLLRDHUP, 0};
        if (poll(&fd, 1, 0) < 0 || (fd.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0) {
          self->PeerGone(weak);
        } else {
          self->PollPeer(weak);
        }
      });
}

}  // namespace weft::http
