// One HTTP GET, by libcurl.
#pragma once

#include <absl/status/status.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weft::fetch {

struct HttpRequest {
  std::string url = {};                   // http or https
  std::vector<std::string> headers = {};  // "Name: value"; Authorization goes to this host alone
  uint64_t offset = 0;                    // bytes from here on: "Range: bytes=OFFSET-"
  std::string if_range = {};              // a strong validator that belongs to the offset
};

struct HttpOptions {
  std::string ca_file;  // PEM; empty: the system's
  std::chrono::seconds connect{15};
  std::chrono::seconds stall{60};             // without a byte
  const std::atomic<bool>* cancel = nullptr;  // CANCELLED once it is true
  std::string user_agent = "weftctl";
};

// Of the last response, after redirects.
struct HttpHead {
  int status = 0;
  std::string etag;
  std::string authenticate;   // WWW-Authenticate
  std::string content_range;  // "bytes 5-9/10"
  std::string digest;         // Docker-Content-Digest
  std::optional<uint64_t> length;
  std::optional<std::chrono::seconds> retry_after;
};

struct HttpHandlers {
  // Before the first byte of a body with a 2xx status, or for an empty one. An error ends the call.
  std::function<absl::Status(const HttpHead&)> head;
  std::function<absl::Status(std::string_view)> body;
};

// Blocks. Redirects are followed, eight at most, from https to https alone. `seen` (may be null) is
// what the server said, also when the result is an error: UNAUTHENTICATED (401), PERMISSION_DENIED
// (403), NOT_FOUND (404, 410), OUT_OF_RANGE (416), UNAVAILABLE (429, 5xx, no connection, cut off),
// DEADLINE_EXCEEDED (stalled), FAILED_PRECONDITION (others, a certificate that is not trusted). An
// error names the URL without its query, which may hold a signature.
absl::Status HttpGet(const HttpRequest& request, const HttpOptions& options,
                     const HttpHandlers& handlers, HttpHead* seen = nullptr);

// The whole body; RESOURCE_EXHAUSTED beyond `limit` bytes.
absl::Status HttpGetText(const HttpRequest& request, const HttpOptions& options, size_t limit,
                         std::string* body, HttpHead* seen = nullptr);

// "bytes FIRST-LAST/TOTAL" (RFC 9110, 14.4). nullopt: anything else. TOTAL may be "*": 0.
struct ContentRange {
  uint64_t first = 0;
  uint64_t last = 0;
  uint64_t total = 0;
};
std::optional<ContentRange> ParseContentRange(std::string_view text);

// For messages: without user, password, query and fragment.
std::string ShownUrl(std::string_view url);

}  // namespace weft::fetch
