// One request and the right to answer it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "libs/http/message.h"

namespace weft::http {

// Why an exchange ended before its answer was complete.
enum class CloseReason {
  kClientGone,  // the peer closed or half-closed its side, or the connection broke
  kStalled,     // the peer did not read for write_timeout, or the buffer bound was passed
  kServerStop,  // the server was stopped
};
std::string_view CloseReasonName(CloseReason reason);

// Thread safe: every method may be called from any thread and none blocks. Handlers run on an I/O
// thread and must not block it; they keep the shared_ptr for as long as they want to answer.
// An exchange that is dropped without an answer answers 500 by itself.
class Exchange {
 public:
  virtual ~Exchange() = default;

  // Immutable once the handler is called.
  virtual const Request& request() const = 0;

  // Answers at once. Ignored after an earlier answer.
  virtual void Send(Response response) = 0;

  // Starts an answer of unknown length (chunked; until close for HTTP/1.0). `head.body` is the
  // first piece. False when an answer was already given or the client is gone.
  virtual bool StartStream(Response head) = 0;
  // Adds to the stream. Pieces that come while the socket is busy leave together. False when the
  // client is gone: the piece was dropped.
  virtual bool Write(std::string_view piece) = 0;
  // Ends the stream.
  virtual void End() = 0;
  // Breaks the connection without an orderly end, so that the client knows the answer is cut.
  virtual void Abort() = 0;

  // Bytes that were written and that the socket has not taken yet.
  virtual size_t buffered_bytes() const = 0;

  // Called at most once, on the I/O thread, if the exchange ends before the answer was complete;
  // at once if it already did. Replaces an earlier callback. Never called after a complete answer.
  virtual void OnClose(std::function<void(CloseReason)> callback) = 0;
  virtual bool closed() const = 0;
};

using ExchangePtr = std::shared_ptr<Exchange>;
using Handler = std::function<void(const ExchangePtr&)>;

}  // namespace weft::http
