#include "libs/http/transport.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace weft::http {
namespace {

namespace asio = boost::asio;
using Io = TlsSession::Io;

// Unsent bytes in the kernel of a client that does not read: beyond, they stay in the answer, where
// they are counted.
constexpr int kNotSentBytes = 128 << 10;

}  // namespace

Transport::Transport(Socket socket, std::shared_ptr<const TlsContext> tls)
    : socket_(std::move(socket)) {
  Error ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  setsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kNotSentBytes,
             sizeof(kNotSentBytes));
  if (tls) tls_ = TlsSession::Accept(std::move(tls), socket_.native_handle());
}

Io Transport::TryRead(char* bytes, size_t size, size_t* taken) {
  if (tls_) return tls_->Read(bytes, size, taken);
  const ssize_t n = recv(socket_.native_handle(), bytes, size, MSG_DONTWAIT);
  if (n < 0) return errno == EAGAIN || errno == EINTR ? Io::kWantRead : Io::kFailed;
  *taken = static_cast<size_t>(n);
  return n == 0 ? Io::kEnd : Io::kDone;
}

Io Transport::TryWrite(std::string_view bytes, size_t* taken) {
  if (tls_) return tls_->Write(bytes, taken);
  const ssize_t n =
      send(socket_.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0) return errno == EAGAIN || errno == EINTR ? Io::kWantWrite : Io::kFailed;
  *taken = static_cast<size_t>(n);
  return Io::kDone;
}

asio::awaitable<void> Transport::Ready(Io for_what, Error& error) {
  switch (for_what) {
    case Io::kWantRead:
      co_await socket_.async_wait(Socket::wait_read,
                                  asio::redirect_error(asio::use_awaitable, error));
      break;
    case Io::kWantWrite:
      co_await socket_.async_wait(Socket::wait_write,
                                  asio::redirect_error(asio::use_awaitable, error));
      break;
    case Io::kEnd:
      error = asio::error::eof;
      break;
    default:
      error = asio::error::connection_reset;
  }
}

asio::awaitable<bool> Transport::Handshake() {
  if (!tls_) co_return true;
  while (true) {
    const Io io = tls_->Handshake();
    if (io == Io::kDone) co_return true;
    Error error;
    co_await Ready(io, error);
    if (error) co_return false;
  }
}

asio::awaitable<void> Transport::ReadSome(std::string& into, Error& error) {
  static thread_local std::array<char, 64 << 10> scratch;
  while (true) {
    size_t n = 0;
    const Io io = TryRead(scratch.data(), scratch.size(), &n);
    if (io == Io::kDone) {
      into.append(scratch.data(), n);
      co_return;
    }
    co_await Ready(io, error);
    if (error) co_return;
  }
}

asio::awaitable<size_t> Transport::WriteSome(std::string_view bytes, Error& error) {
  while (true) {
    size_t n = 0;
    const Io io = TryWrite(bytes, &n);
    if (io == Io::kDone) co_return n;
    co_await Ready(io, error);
    if (error) co_return 0;
  }
}

size_t Transport::TrySend(std::string_view bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    size_t n = 0;
    if (TryWrite(bytes.substr(done), &n) != Io::kDone) break;  // an error shows again
    done += n;
    if (!tls_) break;  // the socket took what it has room for
  }
  return done;
}

void Transport::Cancel() {
  Error ignored;
  socket_.cancel(ignored);
}

void Transport::ShutdownSend() {
  if (tls_) tls_->Close();
  Error ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
}

void Transport::Break() {
  Error ignored;
  socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  socket_.close(ignored);
}

void Transport::Close() {
  Error ignored;
  socket_.close(ignored);
}

}  // namespace weft::http
