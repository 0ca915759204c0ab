// IP addresses and networks.
#pragma once

#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

// IPv4 addresses are kept as ::ffff:a.b.c.d, so that an address mapped into IPv6 is the same.
class IpAddress {
 public:
  // "192.0.2.7", "2001:db8::1", also with a zone, and with a port ("192.0.2.7:80", "[::1]:80").
  static std::optional<IpAddress> Parse(std::string_view text);
  // Of whoever is connected: what Parse takes, and gRPC's names ("ipv4:192.0.2.7:4711",
  // "ipv6:%5B2001:db8::1%5D:4711"). nullopt for what has no address ("unix:/path").
  static std::optional<IpAddress> ParsePeer(std::string_view peer);

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
absl::StatusOr<std::vector<IpNetwork>> ParseNetworks(std::span<const std::string> texts);
bool AnyContains(std::span<const IpNetwork> networks, const IpAddress& address);

}  // namespace weft
