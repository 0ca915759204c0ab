#include "services/weftctl/supervise/port_claim.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <charconv>

#include "libs/base/status.h"

namespace weft::supervise {
namespace {

// One spelling for each literal: "0:0::1" is "::1".
std::string Canonical(const std::string& host) {
  in6_addr address{};
  char text[INET6_ADDRSTRLEN];
  if (inet_pton(AF_INET6, host.c_str(), &address) != 1) return host;
  return inet_ntop(AF_INET6, &address, text, sizeof(text)) == nullptr ? host : text;
}

bool IsV6(const std::string& host) { return host.find(':') != std::string::npos; }

// Whether a port of one is a port of the other. Sockets of :: take IPv4 too, as Linux has it.
bool Overlap(const std::string& a, const std::string& b) {
  if (a == b || a == "::" || b == "::") return true;
  if (a == "0.0.0.0") return !IsV6(b);
  if (b == "0.0.0.0") return !IsV6(a);
  const auto loopback = [](const std::string& host) {
    return host == "127.0.0.1" || host == "::1";
  };
  return (a == "localhost" && loopback(b)) || (b == "localhost" && loopback(a));
}

std::string Shown(const PortClaim& claim) {
  if (!claim.socket.empty()) return "unix:" + claim.socket;
  return IsV6(claim.host) ? fmt::format("[{}]:{}", claim.host, claim.port)
                          : fmt::format("{}:{}", claim.host, claim.port);
}

bool Conflict(const PortClaim& a, const PortClaim& b) {
  if (!a.socket.empty() || !b.socket.empty()) return a.socket == b.socket;
  return a.port == b.port && a.port != 0 && Overlap(Canonical(a.host), Canonical(b.host));
}

}  // namespace

absl::StatusOr<PortClaim> ParseAddress(const std::string& purpose, const std::string& key,
                                       const std::string& address) {
  PortClaim claim;
  claim.purpose = purpose;
  claim.key = key;
  if (address.rfind("unix:", 0) == 0) {
    claim.socket = address.substr(5);
    return claim;
  }
  const size_t colon = address.rfind(':');
  const char* end = address.data() + address.size();
  const auto parsed = colon == std::string::npos
                          ? std::from_chars_result{end, std::errc::invalid_argument}
                          : std::from_chars(address.data() + colon + 1, end, claim.port);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    return InvalidArgument("{}: '{}' is not host:port", purpose, address);
  }
  claim.host = address.substr(0, colon);
  if (claim.host.size() >= 2 && claim.host.front() == '[' && claim.host.back() == ']') {
    claim.host = claim.host.substr(1, claim.host.size() - 2);
  }
  return claim;
}

absl::Status CheckDistinct(std::span<const PortClaim> claims) {
  for (size_t i = 0; i < claims.size(); ++i) {
    for (size_t k = 0; k < i; ++k) {
      if (!Conflict(claims[k], claims[i])) continue;
      return InvalidArgument("{} and {} need addresses of their own: {} and {}", claims[k].key,
                             claims[i].key, Shown(claims[k]), Shown(claims[i]));
    }
  }
  return absl::OkStatus();
}

}  // namespace weft::supervise
