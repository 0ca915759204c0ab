#include "libs/limits/address_key.h"

#include <fmt/format.h>

#include "libs/base/ip_address.h"

namespace weft::limits {

std::string AddressKey(std::string_view peer) {
  const auto address = IpAddress::ParsePeer(peer);
  if (!address) return "local";
  if (address->is_v4()) return address->ToString();
  std::string out;
  for (size_t i = 0; i < 8; ++i) out += fmt::format("{:02x}", address->bytes()[i]);
  return out + "/64";
}

}  // namespace weft::limits
