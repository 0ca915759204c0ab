// The bytes of one connection, plain or inside TLS. Private to libs/http.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "libs/http/tls.h"

namespace weft::http {

// One thread. A read and a write may be under way at once, two of a kind not. Nothing is allocated
// for a connection that waits for bytes.
class Transport {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using Error = boost::system::error_code;

  // Plain text without `tls`.
  Transport(Socket socket, std::shared_ptr<const TlsContext> tls);

  Socket& socket() { return socket_; }
  // False when it failed; true at once without TLS.
  boost::asio::awaitable<bool> Handshake();
  std::shared_ptr<const TlsPeer> peer() const { return tls_ ? tls_->peer() : nullptr; }

  // Appends what came, at least a byte; eof when the peer ended its side.
  boost::asio::awaitable<void> ReadSome(std::string& into, Error& error);
  // How many bytes were taken, at least one. After an error nothing more can be written.
  boost::asio::awaitable<size_t> WriteSome(std::string_view bytes, Error& error);
  // What is taken at once. What was not must be offered again before other bytes.
  size_t TrySend(std::string_view bytes);

  void Cancel();        // ends what waits
  void ShutdownSend();  // in order: close_notify, FIN
  void Break();         // RST instead of an orderly close
  void Close();

 private:
  TlsSession::Io TryRead(char* bytes, size_t size, size_t* taken);
  TlsSession::Io TryWrite(std::string_view bytes, size_t* taken);
  boost::asio::awaitable<void> Ready(TlsSession::Io for_what, Error& error);

  Socket socket_;
  std::unique_ptr<TlsSession> tls_;
};

}  // namespace weft::http
