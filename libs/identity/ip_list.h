// Lists of addresses and networks: "192.0.2.7", "192.0.2.0/24", "2001:db8::/32".
#pragma once

#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft::identity {

class IpList {
 public:
  // INVALID_ARGUMENT names what is neither, has bits behind its prefix, or comes after 256 others.
  static absl::StatusOr<IpList> Parse(std::span<const std::string> texts);

  // `peer` as limits::AddressKey takes it: with port, brackets and zone, gRPC's names too. An IPv4
  // address mapped into IPv6 is the IPv4 one. What is no address (a Unix socket) is in no list.
  bool Contains(std::string_view peer) const;
  bool empty() const { return networks_.empty(); }

 private:
  using Address = std::array<uint8_t, 16>;  // IPv4 as ::ffff:a.b.c.d
  struct Network {
    Address address;
    int bits;
  };
  static std::optional<Address> ParseAddress(std::string_view text, bool* v4 = nullptr);

  std::vector<Network> networks_;
};

}  // namespace weft::identity
