// Bytes of HTTP/1.x requests in, requests out. Knows no socket, so that it can be fuzzed as it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libs/http/message.h"

namespace weft::http {

// What HTTP asks of a head beyond its grammar, of any version; fills path and query from the
// target. An empty answer is good.
std::string_view RequestProblem(Request& request);

// One request. Stricter than the grammar asks where two readers of the same bytes could differ:
// bare CR or LF, folded lines, a space before a colon, control characters, more than one length,
// and a length beside chunks are all refused (RFC 9112 sections 2.2, 5.1, 5.2, 6.3 and 11.2).
//
// Memory: at most `max_header_bytes` and the body's limit; a chunk's size line has at most
// kMaxChunkLine bytes and trailers, which are dropped, `max_header_bytes`.
class RequestParser {
 public:
  static constexpr size_t kMaxChunkLine = 1024;

  enum class State : uint8_t {
    kHead,      // more bytes, please
    kHeadDone,  // stops here until StartBody
    kBody,      // more bytes, please
    kDone,
    kFailed,
  };
  struct Failure {
    int status = 400;
    std::string_view code = "bad_request";
    std::string message;
  };

  explicit RequestParser(size_t max_header_bytes) : max_header_bytes_(max_header_bytes) {}

  // How many of the bytes it took: all in kHead and kBody, none of the next request.
  size_t Put(std::string_view bytes);
  State state() const { return state_; }
  const Failure& failure() const { return failure_; }
  // Nothing of a request has come yet.
  bool empty() const { return state_ == State::kHead && head_.empty(); }

  // From kHeadDone on.
  Request& request() { return request_; }
  bool keep_alive() const { return keep_alive_; }
  bool has_body() const { return chunked_ || content_length_ > 0; }
  bool chunked() const { return chunked_; }
  uint64_t content_length() const { return content_length_; }
  size_t header_bytes() const { return header_bytes_; }

  // Goes on to kBody or, without a body, to kDone. A body beyond `limit` fails with 413.
  void StartBody(size_t limit);
  size_t body_bytes() const { return request_.body.size(); }

 private:
  bool Scan(char c);  // false: this byte makes the head a bad one
  void ParseHead();
  size_t PutBody(std::string_view bytes);
  size_t PutChunked(std::string_view bytes);
  void EndChunkLine();
  void Fail(int status, std::string_view code, std::string_view message);

  const size_t max_header_bytes_;
  State state_ = State::kHead;
  Failure failure_;

  // The head, while it is not whole.
  enum class Place : uint8_t { kStartLine, kLineStart, kName, kValue };
  std::string head_;
  Place place_ = Place::kStartLine;
  bool after_cr_ = false;

  Request request_;
  size_t header_bytes_ = 0;
  bool keep_alive_ = false;
  bool chunked_ = false;
  uint64_t content_length_ = 0;

  // The body.
  enum class Chunk : uint8_t { kSizeLine, kData, kDataEnd, kTrailer };
  size_t body_limit_ = 0;
  Chunk chunk_ = Chunk::kSizeLine;
  uint64_t chunk_left_ = 0;
  std::string line_;  // a chunk's size line or a trailer
  size_t trailer_bytes_ = 0;
};

}  // namespace weft::http
