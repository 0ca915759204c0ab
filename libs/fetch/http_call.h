// One HTTP request of any method with its whole answer, by libcurl: for APIs. Files come by
// http_get.h.
#pragma once

#include <absl/status/statusor.h>

#include <atomic>
#include <chrono>
#include <string>
#include <vector>

namespace weft::fetch {

struct HttpCall {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers = {};  // "Name: value"
  std::string body = {};
};

struct HttpCallOptions {
  // PEM texts. Without `ca` the system's authorities; certificate and key are the client's own.
  std::string ca = {}, certificate = {}, key = {};
  bool verify = true;  // the server's certificate
  std::chrono::milliseconds connect{10'000};
  std::chrono::milliseconds total{30'000};
  std::string user_agent = "weftctl";
  size_t body_limit = 16u << 20;
  const std::atomic<bool>* cancel = nullptr;  // CANCELLED once it is true
};

struct HttpReply {
  int status = 0;
  std::string body;
};

// Blocks. No redirect is followed. Any status of the server's is a reply. Errors: UNAVAILABLE (not
// resolved, not connected, cut off), DEADLINE_EXCEEDED, FAILED_PRECONDITION (a certificate that is
// not trusted, a key that does not fit), RESOURCE_EXHAUSTED (beyond `body_limit`),
// INVALID_ARGUMENT (not an http or https URL), CANCELLED. They name the URL without its query.
absl::StatusOr<HttpReply> CallHttp(const HttpCall& call, const HttpCallOptions& options);

// Of a query's value: all but letters, digits and "-._~" as %XX (RFC 3986, 2.3).
std::string PercentEncoded(std::string_view text);

}  // namespace weft::fetch
