#include "libs/redis/url.h"

#include <charconv>
#include <optional>

#include "libs/base/status.h"

namespace weft::redis {
namespace {

constexpr size_t kMaxUrl = 4096;

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

absl::StatusOr<std::string> Decode(std::string_view text, const char* what) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return InvalidArgument("the {} has a broken %-escape", what);
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

template <typename T>
absl::StatusOr<T> Number(std::string_view text, T max, const char* what) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > max) {
    return InvalidArgument("the {} must be a number up to {}", what, max);
  }
  return static_cast<T>(value);
}

// Takes what is before `separator` off the front; all when it is not there.
std::string_view Take(std::string_view& text, char separator) {
  const size_t at = text.find(separator);
  const std::string_view front = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  return front;
}

absl::Status ParseHost(std::string_view host, Endpoint& out) {
  std::optional<std::string_view> port;
  if (!host.empty() && host.front() == '[') {
    const size_t close = host.find(']');
    if (close == std::string_view::npos) return InvalidArgument("the host has no closing ']'");
    out.host = host.substr(1, close - 1);
    const std::string_view rest = host.substr(close + 1);
    if (!rest.empty() && rest.front() != ':') return InvalidArgument("text follows the host's ']'");
    if (!rest.empty()) port = rest.substr(1);
  } else {
    const size_t colon = host.find(':');
    out.host = host.substr(0, colon);
    if (colon != std::string_view::npos) port = host.substr(colon + 1);
  }
  if (out.host.empty()) return InvalidArgument("the host is missing");
  for (const char c : out.host) {
    const bool name = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '-' || c == '_';
    const bool in_brackets = host.front() == '[' && (c == ':' || c == '%');
    if (!name && !in_brackets) return InvalidArgument("the host has characters of no host");
  }
  if (!port) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(out.port, Number<uint16_t>(*port, 65535, "port"));
  if (out.port == 0) return InvalidArgument("the port must not be 0");
  return absl::OkStatus();
}

absl::StatusOr<Endpoint> Parse(std::string_view rest) {
  Endpoint out;
  const size_t scheme_end = rest.find("://");
  if (scheme_end == std::string_view::npos) {
    return InvalidArgument("expected redis://, rediss:// or unix://");
  }
  const std::string_view scheme = rest.substr(0, scheme_end);
  rest.remove_prefix(scheme_end + 3);
  const bool local = scheme == "unix";
  if (!local && scheme != "redis" && scheme != "rediss") {
    return InvalidArgument("expected redis://, rediss:// or unix://");
  }
  out.tls = scheme == "rediss";
  // A password may hold '@' only as %40, so the first one ends it.
  const size_t at = rest.substr(0, rest.find('/')).find('@');
  if (at != std::string_view::npos) {
    std::string_view secret = rest.substr(0, at);
    WEFT_ASSIGN_OR_RETURN(out.username, Decode(Take(secret, ':'), "user name"));
    WEFT_ASSIGN_OR_RETURN(out.password, Decode(secret, "password"));
    if (out.password.empty()) return InvalidArgument("a user is given without a password");
    rest.remove_prefix(at + 1);
  }
  if (local) {
    out.unix_path = Take(rest, '?');
    if (out.unix_path.size() < 2 || out.unix_path.front() != '/' || out.unix_path.size() > 107) {
      return InvalidArgument("the socket's path must be absolute and have at most 107 bytes");
    }
    if (rest.empty()) return out;
    if (rest.substr(0, 3) != "db=") return InvalidArgument("after '?' only db=NUMBER is known");
    WEFT_ASSIGN_OR_RETURN(out.database, Number<uint32_t>(rest.substr(3), 1'000'000, "database"));
    return out;
  }
  WEFT_RETURN_IF_ERROR(ParseHost(Take(rest, '/'), out));
  if (!rest.empty()) {
    WEFT_ASSIGN_OR_RETURN(out.database, Number<uint32_t>(rest, 1'000'000, "database"));
  }
  return out;
}

}  // namespace

absl::StatusOr<Endpoint> ParseUrl(std::string_view url) {
  if (url.size() > kMaxUrl) return InvalidArgument("the URL has more than {} bytes", kMaxUrl);
  if (url.find('\0') != std::string_view::npos) return InvalidArgument("the URL has a NUL byte");
  auto endpoint = Parse(url);
  if (!endpoint.ok()) return Annotate(endpoint.status(), "not a Redis URL");
  return endpoint;
}

std::string Endpoint::Name() const {
  if (!unix_path.empty()) return fmt::format("unix://{}", unix_path);
  const bool v6 = host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}/{}", tls ? "rediss" : "redis", v6 ? "[" : "", host,
                     v6 ? "]" : "", port, database);
}

absl::Status Options::Validate() const {
  if (connections < 1 || connections > 1024) {
    return InvalidArgument("connections: must be 1 to 1024");
  }
  if (timeout.count() < 1) return InvalidArgument("timeout: must be at least 1 ms");
  if (connect_timeout.count() < 1) return InvalidArgument("connect_timeout: must be at least 1 ms");
  if (min_retry.count() < 1 || max_retry < min_retry) {
    return InvalidArgument("max_retry: must be at least min_retry, which is at least 1 ms");
  }
  if (tls.certificate_file.empty() != tls.key_file.empty()) {
    return InvalidArgument("tls.certificate_file and tls.key_file: give both or none");
  }
  return absl::OkStatus();
}

}  // namespace weft::redis
