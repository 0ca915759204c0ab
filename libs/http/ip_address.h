// IP addresses, networks, and the client behind trusted proxies.
#pragma once

#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/http/message.h"

namespace weft::http {

// IPv4 addresses are kept as ::ffff:a.b.c.d, so that an address mapped into IPv6 is the same.
class IpAddress {
 public:
  // "192.0.2.7", "2001:db8::1", also with a zone, and with a port ("192.0.2.7:80", "[::1]:80").
  static std::optional<IpAddress> Parse(std::string_view text);

  bool is_v4() const;
  std::string ToString() const;
  // An IPv4 address itself; of IPv6 the network of 64 bits that one customer has (RFC 6177).
  IpAddress Network64() const;
  const std::array<uint8_t, 16>& bytes() const { return bytes_; }
  bool operator==(const IpAddress&) const = default;

 private:
  std::array<uint8_t, 16> bytes_{};
};

class IpNetwork {
 public:
  // "10.0.0.0/8", "2001:db8::/32", or an address alone. INVALID_ARGUMENT when bits beyond the
  // prefix are set: such a line is a slip of the pen more often than not.
  static absl::StatusOr<IpNetwork> Parse(std::string_view text);
  bool Contains(const IpAddress& address) const;

 private:
  IpAddress base_;
  int bits_ = 128;  // of the 128
};

// The error names the entry.
absl::StatusOr<std::vector<IpNetwork>> ParseNetworks(const std::vector<std::string>& texts);
bool AnyContains(const std::vector<IpNetwork>& networks, const IpAddress& address);

// Which header the trusted proxies write. A header that they only pass on is the client's own word.
enum class ForwardedHeader : uint8_t { kNone, kXForwardedFor, kForwarded };

struct ForwardedClient {
  std::string address;  // as IpAddress::ToString
  bool https = false;   // the client spoke TLS to the outermost trusted proxy that says so
};

// Who sent a request that came from `peer`. Only what a trusted hop wrote counts: from the right of
// the list, the first address that is not trusted is the client. An entry that is no address
// ("unknown", "_hidden", RFC 7239 section 6) ends the walk at the hop that wrote it. nullopt when
// the peer is not trusted.
std::optional<ForwardedClient> FindClient(const Headers& headers, std::string_view peer,
                                          const std::vector<IpNetwork>& trusted,
                                          ForwardedHeader header);

}  // namespace weft::http
