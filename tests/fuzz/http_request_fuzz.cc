// The boundary where bytes of strangers become HTTP requests, and the addresses in their headers.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/ip_address.h"
#include "libs/http/forwarded.h"
#include "libs/http/request_parser.h"

namespace {

using weft::http::RequestParser;
using State = RequestParser::State;

constexpr size_t kMaxHead = 4096;
constexpr size_t kMaxBody = 2048;

struct Outcome {
  std::string seen;  // everything that the parser made of the bytes
  bool operator==(const Outcome&) const = default;
};

// Parses all requests in the bytes, given in pieces of `step`.
Outcome Parse(std::string_view bytes, size_t step) {
  Outcome out;
  while (!bytes.empty()) {
    RequestParser parser(kMaxHead);
    while (!bytes.empty() && parser.state() != State::kDone && parser.state() != State::kFailed) {
      const size_t taken = parser.Put(bytes.substr(0, step));
      if (parser.state() == State::kHeadDone) {
        parser.StartBody(kMaxBody);
      } else if (taken == 0) {
        std::abort();  // would wait for ever
      }
      bytes.remove_prefix(taken);
    }
    weft::http::Request& request = parser.request();
    if (request.body.size() > kMaxBody) std::abort();
    if (parser.state() == State::kFailed) {
      const int status = parser.failure().status;
      if (status != 400 && status != 413 && status != 431) std::abort();
      out.seen += "failed " + std::to_string(status);
      return out;
    }
    if (parser.state() != State::kDone) {
      out.seen += "unfinished";
      return out;
    }
    // What gets through can be read in one way only.
    const auto& headers = request.headers;
    if (headers.Has("Content-Length") && headers.Has("Transfer-Encoding")) std::abort();
    if (headers.Count("Content-Length") > 1 || headers.Count("Transfer-Encoding") > 1) std::abort();
    if (request.version >= 11 && headers.Count("Host") != 1) std::abort();
    for (const auto& field : headers.fields()) {
      if (field.name.find_first_of(" \t\r\n:") != std::string::npos || field.name.empty())
        std::abort();
      if (field.value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
        std::abort();
      out.seen += field.name + ":" + field.value + "\n";
    }
    if (request.path.empty() || (request.path.front() != '/' && request.path != "*")) std::abort();
    out.seen +=
        request.method + " " + request.path + "?" + request.query + "\n" + request.body + "\n";
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // However the network cuts the bytes, they are the same requests.
  const Outcome whole = Parse(text, size == 0 ? 1 : size);
  if (Parse(text, 1) != whole || Parse(text, 7) != whole) std::abort();

  static const auto trusted =
      *weft::ParseNetworks(std::vector<std::string>{"10.0.0.0/8", "2001:db8::/32"});
  weft::http::Headers headers;
  headers.Add("X-Forwarded-For", text);
  headers.Add("Forwarded", text);
  for (const auto kind :
       {weft::http::ForwardedHeader::kXForwardedFor, weft::http::ForwardedHeader::kForwarded}) {
    const auto client = weft::http::FindClient(headers, "10.0.0.1", trusted, kind);
    // Always an address.
    if (!client || !weft::IpAddress::Parse(client->address)) std::abort();
  }
  (void)weft::IpNetwork::Parse(text);
  return 0;
}
