#include "libs/limits/address_key.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace weft::limits {
namespace {

bool TakePrefix(std::string_view& text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// The host of "host", "host:port", "[host]:port" or "%5Bhost%5D:port", without an IPv6 zone.
std::string_view HostOf(std::string_view text) {
  for (const auto& [open, close] : {std::pair<std::string_view, std::string_view>{"[", "]"},
                                    std::pair<std::string_view, std::string_view>{"%5B", "%5D"}}) {
    if (TakePrefix(text, open)) return text.substr(0, std::min(text.find(close), text.find('%')));
  }
  if (std::count(text.begin(), text.end(), ':') == 1) return text.substr(0, text.find(':'));
  return text.substr(0, text.find('%'));
}

}  // namespace

std::string AddressKey(std::string_view peer) {
  if (!TakePrefix(peer, "ipv4:")) TakePrefix(peer, "ipv6:");
  const std::string host(HostOf(peer));
  std::array<uint8_t, 16> bytes{};
  const auto v4 = [&](size_t at) {
    return fmt::format("{}.{}.{}.{}", bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
  };
  if (inet_pton(AF_INET, host.c_str(), bytes.data()) == 1) return v4(0);
  if (inet_pton(AF_INET6, host.c_str(), bytes.data()) != 1) return "local";
  constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::equal(kMapped.begin(), kMapped.end(), bytes.begin())) return v4(12);
  std::string out;
  for (size_t i = 0; i < 8; ++i) out += fmt::format("{:02x}", bytes[i]);
  return out + "/64";
}

}  // namespace weft::limits
