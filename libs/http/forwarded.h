// The client behind trusted proxies.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "libs/base/ip_address.h"
#include "libs/http/message.h"

namespace weft::http {

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
                                          std::span<const IpNetwork> trusted,
                                          ForwardedHeader header);

}  // namespace weft::http
