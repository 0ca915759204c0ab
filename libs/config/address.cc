#include "libs/config/address.h"

#include <charconv>

#include "libs/base/status.h"

namespace weft::config {

absl::StatusOr<HostPort> ParseHostPort(std::string_view key, std::string_view text) {
  const auto bad = [&] {
    return InvalidArgument("{}: '{}' is not host:port with a port from 0 to 65535", key, text);
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return bad();
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return bad();
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad();  // an IPv6 literal needs its brackets
  }
  HostPort out{std::string(host), 0};
  const auto parsed = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (port.empty() || parsed.ec != std::errc() || parsed.ptr != port.data() + port.size()) {
    return bad();
  }
  return out;
}

}  // namespace weft::config
