// What of a peer's address names the party behind it, for limits per address.
#pragma once

#include <string>
#include <string_view>

namespace weft::limits {

// Takes "192.0.2.7", "2001:db8::1", with or without brackets, port and zone, and gRPC's peer names
// ("ipv4:192.0.2.7:4711", "ipv6:%5B2001:db8::1%5D:4711", "unix:/path").
// An IPv4 address stands for itself; of an IPv6 address the first 64 bits count, since one customer
// has at least that many addresses (RFC 6177); an IPv4 address mapped into IPv6 is the IPv4 one.
// Everything else, such as a Unix socket, is "local".
std::string AddressKey(std::string_view peer);

}  // namespace weft::limits
