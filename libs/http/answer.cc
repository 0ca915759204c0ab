#include "libs/http/answer.h"

#include <algorithm>
#include <charconv>
#include <ctime>

#include "libs/base/status.h"
#include "libs/http/compress.h"

namespace weft::http {
namespace {

// RFC 9110 section 5.6.7. Formatted once a second per thread.
const std::string& HttpDate() {
  thread_local std::time_t last = 0;
  thread_local std::string text;
  const std::time_t now = std::time(nullptr);
  if (now != last) {
    std::tm utc{};
    gmtime_r(&now, &utc);
    char buffer[64];
    const size_t n = std::strftime(buffer, sizeof(buffer), "%a, %d %b %Y %H:%M:%S GMT", &utc);
    text.assign(buffer, n);
    last = now;
  }
  return text;
}

bool HasNoBody(int status) { return status < 200 || status == 204 || status == 304; }

// A header value that holds a line break would let its author write headers of his own.
bool IsSafe(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

void AppendNumber(std::string& out, size_t value, int base = 10) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value, base).ptr;
  out.append(digits, end);
}

void AppendChunk(std::string& out, std::string_view piece) {
  AppendNumber(out, piece.size(), 16);
  out.append("\r\n").append(piece).append("\r\n");
}

}  // namespace

std::string_view CloseReasonName(CloseReason reason) {
  switch (reason) {
    case CloseReason::kClientGone:
      return "client_gone";
    case CloseReason::kStalled:
      return "stalled";
    case CloseReason::kServerStop:
      return "server_stop";
  }
  return "unknown";
}

Answer::Answer(std::shared_ptr<ServerCore> core, Request request, bool keep_alive,
               std::shared_ptr<Waker> waker)
    : core_(std::move(core)),
      request_(std::move(request)),
      waker_(std::move(waker)),
      keep_alive_(keep_alive) {}

void Answer::WakeLocked() {
  if (waker_) waker_->Wake();
}

void Answer::CountLocked() {
  const size_t now = pending_.size() + in_flight_;
  core_->buffered_bytes.fetch_add(now - counted_);  // wraps round for less
  counted_ = now;
}

// A stream may hold max_buffered_bytes; when all together hold too much, no more than its share, so
// that those who read are not cut for those who do not.
bool Answer::TooMuchLocked(size_t more) const {
  const size_t mine = pending_.size() + in_flight_ + more;
  const ServerOptions& options = core_->options;
  if (mine > options.max_buffered_bytes) return true;
  if (core_->buffered_bytes.load() + more <= options.max_total_buffered_bytes) return false;
  return mine > options.max_total_buffered_bytes / std::max<size_t>(core_->streams.load(), 1);
}

// Writes the head. False when the answer cannot begin any more.
bool Answer::BeginLocked(Response& response, bool stream) {
  if (begun_ || aborted_) return false;
  if (closed_ && (stream || close_reason_ != CloseReason::kClientGone)) return false;
  begun_ = true;
  status_ = response.status;
  if (core_->draining.load(std::memory_order_relaxed)) keep_alive_ = false;
  const bool no_body = HasNoBody(response.status);
  chunked_ = stream && request_.version >= 11;
  if (stream && !chunked_) keep_alive_ = false;
  if (response.headers.HasToken("Connection", "close")) keep_alive_ = false;
  pending_.reserve(384 + response.body.size());
  pending_.append("HTTP/1.1 ");
  AppendNumber(pending_, static_cast<size_t>(response.status));
  pending_.append(" ").append(ReasonPhrase(response.status));
  pending_.append("\r\nDate: ").append(HttpDate()).append("\r\n");
  for (const Headers::Field& field : response.headers.fields()) {
    if (EqualsIgnoreCase(field.name, "Connection")) continue;
    if (!IsSafe(field.name) || !IsSafe(field.value)) continue;
    pending_.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  if (chunked_) {
    pending_.append("Transfer-Encoding: chunked\r\n");
  } else if (!stream && !no_body) {
    pending_.append("Content-Length: ");
    AppendNumber(pending_, response.body.size());
    pending_.append("\r\n");
  }
  if (!keep_alive_) {
    pending_.append("Connection: close\r\n");
  } else if (request_.version < 11) {
    pending_.append("Connection: keep-alive\r\n");
  }
  pending_.append("\r\n");
  return true;
}

void Answer::Send(Response response) {
  Compress(request_, response);
  std::lock_guard lock(mutex_);
  if (!BeginLocked(response, false)) return;
  if (request_.method != "HEAD" && !HasNoBody(response.status)) {
    pending_.append(response.body);
    body_bytes_ = response.body.size();
  }
  complete_ = true;
  on_close_ = nullptr;
  CountLocked();
  WakeLocked();
}

bool Answer::StartStream(Response head) {
  std::lock_guard lock(mutex_);
  if (begun_ || closed_ || aborted_) return false;
  if (core_->streams.fetch_add(1) >= core_->options.max_streams) {
    core_->streams.fetch_sub(1);
    return false;
  }
  counted_stream_ = true;
  BeginLocked(head, true);
  streaming_ = true;
  if (request_.method == "HEAD") {
    complete_ = true;
  } else if (!head.body.empty()) {
    body_bytes_ += head.body.size();
    if (chunked_) {
      AppendChunk(pending_, head.body);
    } else {
      pending_.append(head.body);
    }
  }
  CountLocked();
  WakeLocked();
  return true;
}

bool Answer::Write(std::string_view piece) {
  std::lock_guard lock(mutex_);
  if (!streaming_ || complete_ || closed_ || aborted_) return false;
  if (piece.empty()) return true;  // an empty chunk would end the body
  if (TooMuchLocked(piece.size())) {
    // The connection's thread tells the owner: the caller may hold the owner's lock now.
    closed_ = true;
    aborted_ = true;
    close_reason_ = CloseReason::kStalled;
    core_->stalled.fetch_add(1);
    WakeLocked();
    return false;
  }
  body_bytes_ += piece.size();
  if (chunked_) {
    AppendChunk(pending_, piece);
  } else {
    pending_.append(piece);
  }
  CountLocked();
  WakeLocked();
  return true;
}

void Answer::End() {
  std::lock_guard lock(mutex_);
  if (!streaming_ || complete_ || closed_ || aborted_) return;
  if (chunked_) pending_.append("0\r\n\r\n");
  complete_ = true;
  on_close_ = nullptr;
  WakeLocked();
}

void Answer::Abort() {
  std::lock_guard lock(mutex_);
  if (complete_) return;
  aborted_ = true;
  on_close_ = nullptr;
  WakeLocked();
}

size_t Answer::buffered_bytes() const {
  std::lock_guard lock(mutex_);
  return pending_.size() + in_flight_;
}

void Answer::OnClose(std::function<void(CloseReason)> callback) {
  CloseReason reason;
  {
    std::lock_guard lock(mutex_);
    if (complete_ || aborted_) {
      if (!closed_) return;
    }
    if (!closed_) {
      on_close_ = std::move(callback);
      return;
    }
    reason = close_reason_;
  }
  if (callback) callback(reason);
}

bool Answer::closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

void Answer::Dropped() {
  bool unanswered = false;
  {
    std::lock_guard lock(mutex_);
    on_close_ = nullptr;
    if (!begun_ && !closed_ && !aborted_) {
      unanswered = true;
    } else if (!complete_) {
      aborted_ = true;  // a stream without an end, or nobody left to answer a half-closed peer
      WakeLocked();
    }
  }
  if (unanswered) {
    Send(core_->hooks.error(500, "internal_error", "The server had an error and gave no answer."));
  }
}

Answer::Work Answer::Take() {
  std::lock_guard lock(mutex_);
  Work work;
  work.bytes.swap(pending_);
  work.complete = complete_;
  work.aborted = aborted_;
  in_flight_ = work.bytes.size();
  return work;
}

void Answer::Wrote(size_t bytes) {
  std::lock_guard lock(mutex_);
  in_flight_ -= bytes < in_flight_ ? bytes : in_flight_;
  CountLocked();
}

bool Answer::has_work() const {
  std::lock_guard lock(mutex_);
  return !pending_.empty() || complete_ || aborted_;
}

void Answer::Close(CloseReason reason) {
  std::function<void(CloseReason)> callback;
  {
    std::lock_guard lock(mutex_);
    if (closed_ || complete_) return;
    closed_ = true;
    close_reason_ = reason;
    if (reason == CloseReason::kStalled) core_->stalled.fetch_add(1);
    if (begun_ || reason != CloseReason::kClientGone) aborted_ = true;
    callback = std::move(on_close_);
    on_close_ = nullptr;
  }
  if (callback) callback(reason);
}

void Answer::Detach() {
  std::function<void(CloseReason)> callback;
  {
    std::lock_guard lock(mutex_);
    if (closed_) callback = std::move(on_close_);
    on_close_ = nullptr;
  }
  if (callback) callback(close_reason_);
  std::lock_guard lock(mutex_);
  waker_ = nullptr;
  pending_ = {};  // nobody takes it any more
  in_flight_ = 0;
  CountLocked();
  if (counted_stream_) {
    counted_stream_ = false;
    core_->streams.fetch_sub(1);
  }
}

bool Answer::keep_alive() const {
  std::lock_guard lock(mutex_);
  return keep_alive_ && complete_ && !aborted_;
}
int Answer::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}
size_t Answer::body_bytes() const {
  std::lock_guard lock(mutex_);
  return body_bytes_;
}

}  // namespace weft::http
