#include "libs/http/request_parser.h"

#include <algorithm>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>

#include "libs/base/status.h"

namespace weft::http {
namespace {

namespace beast = boost::beast;

std::string_view View(beast::string_view s) { return {s.data(), s.size()}; }

bool StartsWith(std::string_view s, std::string_view prefix) {
  return s.substr(0, prefix.size()) == prefix;
}

// RFC 9110 section 5.6.2.
bool IsTokenChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool IsControl(char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; }

bool AllDigits(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::string_view RequestProblem(Request& request) {
  if (request.version >= 11 && request.headers.Count("Host") != 1) {
    return "exactly one Host header is required";
  }
  const std::string_view host = request.headers.Get("Host");
  if (host.find_first_of(" \t,/?#@\\") != std::string_view::npos) return "the Host is not one";
  if (request.headers.Count("Content-Length") > 1) return "more than one Content-Length";
  if (request.headers.Has("Content-Length") && !AllDigits(request.headers.Get("Content-Length"))) {
    return "the Content-Length is not a number";
  }
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
  const bool plain = std::all_of(target.begin(), target.end(),
                                 [](char c) { return c > 0x20 && c < 0x7f && c != '#'; });
  if (!plain) return "the request target has characters that must be percent-encoded";
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

void RequestParser::Fail(int status, std::string_view code, std::string_view message) {
  state_ = State::kFailed;
  failure_ = {status, code, std::string(message)};
}

// A line ends with CR LF and nothing else, does not begin with blanks, and its name is a token.
bool RequestParser::Scan(char c) {
  if (after_cr_) {
    if (c != '\n') return false;
    after_cr_ = false;
    place_ = Place::kLineStart;
    return true;
  }
  if (c == '\r') {
    after_cr_ = true;
    return place_ != Place::kName;  // a line without a colon
  }
  if (IsControl(c)) return false;
  switch (place_) {
    case Place::kLineStart:
      place_ = Place::kName;
      return IsTokenChar(c);
    case Place::kName:
      if (c == ':') place_ = Place::kValue;
      return c == ':' || IsTokenChar(c);
    case Place::kStartLine:
      return c != '\t';
    case Place::kValue:
      return true;
  }
  return false;
}

size_t RequestParser::Put(std::string_view bytes) {
  if (state_ == State::kBody) return PutBody(bytes);
  if (state_ != State::kHead) return 0;
  size_t n = 0;
  while (n < bytes.size()) {
    const char c = bytes[n++];
    if (head_.size() + n > max_header_bytes_) {
      Fail(431, "header_too_large", "The request's head is too large.");
      return n;
    }
    const bool empty_line = place_ == Place::kLineStart && after_cr_ && c == '\n';
    if (!Scan(c)) {
      Fail(400, "bad_request", "The request is not valid HTTP/1.1.");
      return n;
    }
    if (empty_line) {
      head_.append(bytes.substr(0, n));
      ParseHead();
      return n;
    }
  }
  head_.append(bytes);
  return n;
}

void RequestParser::ParseHead() {
  header_bytes_ = head_.size();
  beast::http::request_parser<beast::http::empty_body> parser;
  parser.header_limit(static_cast<uint32_t>(std::min<size_t>(head_.size() + 1, UINT32_MAX)));
  parser.body_limit(boost::none);
  parser.eager(false);
  boost::system::error_code error;
  parser.put(boost::asio::const_buffer(head_.data(), head_.size()), error);
  if ((error && error != beast::http::error::need_more) || !parser.is_header_done()) {
    return Fail(400, "bad_request", "The request is not valid HTTP/1.1.");
  }
  const auto& message = parser.get();
  request_.method = View(message.method_string());
  request_.target = View(message.target());
  request_.version = static_cast<int>(message.version());
  request_.headers.Reserve(8);
  for (const auto& field : message)
    request_.headers.Add(View(field.name_string()), View(field.value()));
  keep_alive_ = parser.keep_alive();
  chunked_ = parser.chunked();
  content_length_ = parser.content_length().value_or(0);
  head_ = {};
  if (const std::string_view problem = RequestProblem(request_); !problem.empty()) {
    return Fail(400, "bad_request", fmt::format("Bad request: {}.", problem));
  }
  state_ = State::kHeadDone;
}

void RequestParser::StartBody(size_t limit) {
  if (state_ != State::kHeadDone) return;
  body_limit_ = limit;
  state_ = has_body() ? State::kBody : State::kDone;
  if (content_length_ > limit) Fail(413, "body_too_large", "The request body is too large.");
}

size_t RequestParser::PutBody(std::string_view bytes) {
  if (chunked_) return PutChunked(bytes);
  const size_t n = std::min<uint64_t>(bytes.size(), content_length_ - request_.body.size());
  request_.body.append(bytes.substr(0, n));
  if (request_.body.size() == content_length_) state_ = State::kDone;
  return n;
}

size_t RequestParser::PutChunked(std::string_view bytes) {
  size_t at = 0;
  while (at < bytes.size() && state_ == State::kBody) {
    if (chunk_ == Chunk::kData) {
      const size_t n = std::min<uint64_t>(bytes.size() - at, chunk_left_);
      request_.body.append(bytes.substr(at, n));
      at += n;
      chunk_left_ -= n;
      if (chunk_left_ == 0) chunk_ = Chunk::kDataEnd;
      continue;
    }
    const char c = bytes[at++];
    const bool ended = !line_.empty() && line_.back() == '\r';
    if ((ended && c != '\n') || (!ended && c != '\r' && IsControl(c)) ||
        (chunk_ == Chunk::kDataEnd && c != '\r' && c != '\n')) {
      Fail(400, "bad_request", "The request's body is not valid HTTP/1.1.");
      return at;
    }
    if (!ended) {
      line_.push_back(c);
      const size_t room = chunk_ == Chunk::kTrailer ? max_header_bytes_ : kMaxChunkLine;
      if (line_.size() + (chunk_ == Chunk::kTrailer ? trailer_bytes_ : 0) > room)
        Fail(400, "bad_request", "A line between the body's chunks is too long.");
      continue;
    }
    line_.pop_back();
    EndChunkLine();
    line_.clear();
  }
  return at;
}

void RequestParser::EndChunkLine() {
  if (chunk_ == Chunk::kDataEnd) {
    chunk_ = Chunk::kSizeLine;
    return;
  }
  if (chunk_ == Chunk::kTrailer) {
    trailer_bytes_ += line_.size() + 2;
    if (line_.empty()) {
      state_ = State::kDone;
    } else if (const size_t colon = line_.find(':');
               colon == std::string::npos || colon == 0 ||
               !std::all_of(line_.begin(), line_.begin() + static_cast<ptrdiff_t>(colon),
                            IsTokenChar)) {
      Fail(400, "bad_request", "The request's trailers are not valid HTTP/1.1.");
    }
    return;
  }
  // chunk-size [ chunk-ext ]; extensions are dropped.
  uint64_t size = 0;
  size_t digits = 0;
  for (; digits < line_.size() && HexDigit(line_[digits]) >= 0; ++digits) {
    size = size << 4 | static_cast<uint64_t>(HexDigit(line_[digits]));
    if (digits >= 15) break;  // no body is that long
  }
  if (digits == 0 || digits >= 15 || (digits < line_.size() && line_[digits] != ';')) {
    return Fail(400, "bad_request", "The size of one of the body's chunks is not valid.");
  }
  if (size == 0) {
    chunk_ = Chunk::kTrailer;
    return;
  }
  if (size > body_limit_ - request_.body.size()) {
    return Fail(413, "body_too_large",
                fmt::format("The request body is over the limit of {} bytes.", body_limit_));
  }
  chunk_left_ = size;
  chunk_ = Chunk::kData;
}

}  // namespace weft::http
