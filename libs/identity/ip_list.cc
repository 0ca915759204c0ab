#include "libs/identity/ip_list.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "libs/base/status.h"

namespace weft::identity {
namespace {

constexpr size_t kMaxNetworks = 256;

// The address in "1.2.3.4:80", "[::1]:80", "::1", "ipv4:1.2.3.4:80", "ipv6:%5B::1%5D:80".
std::string BareAddress(std::string_view peer) {
  std::string text(peer.substr(0, 128));
  for (const std::string_view scheme : {"ipv4:", "ipv6:"}) {
    if (text.starts_with(scheme)) text.erase(0, scheme.size());
  }
  // gRPC writes brackets as %5B and %5D.
  if (text.starts_with("%5B")) {
    text = text.substr(3, text.find("%5D") - 3);
  } else if (text.starts_with('[')) {
    text = text.substr(1, text.find(']') - 1);
  } else if (std::count(text.begin(), text.end(), ':') == 1) {
    text.resize(text.find(':'));
  }
  return text.substr(0, text.find('%'));  // a zone
}

}  // namespace

std::optional<IpList::Address> IpList::ParseAddress(std::string_view text, bool* v4) {
  const std::string copy(text);
  Address address{};
  in_addr four{};
  if (inet_pton(AF_INET, copy.c_str(), &four) == 1) {
    address[10] = address[11] = 0xff;
    std::memcpy(&address[12], &four, 4);
    if (v4 != nullptr) *v4 = true;
    return address;
  }
  if (v4 != nullptr) *v4 = false;
  if (inet_pton(AF_INET6, copy.c_str(), address.data()) == 1) return address;
  return std::nullopt;
}

absl::StatusOr<IpList> IpList::Parse(std::span<const std::string> texts) {
  IpList list;
  if (texts.size() > kMaxNetworks) return InvalidArgument("at most {} are taken", kMaxNetworks);
  for (const std::string& text : texts) {
    const size_t slash = text.find('/');
    bool v4 = false;
    const auto address = ParseAddress(std::string_view(text).substr(0, slash), &v4);
    const int most = v4 ? 32 : 128;
    int bits = most;
    bool good = address.has_value() && text.size() < 64;
    if (good && slash != std::string::npos) {
      const char* end = text.data() + text.size();
      const auto [at, error] = std::from_chars(text.data() + slash + 1, end, bits);
      good = error == std::errc() && at == end && bits >= 0 && bits <= most;
    }
    if (!good) {
      return InvalidArgument("'{}' is neither an address nor a network such as 192.0.2.0/24",
                             text.substr(0, 64));
    }
    const Network network{*address, v4 ? bits + 96 : bits};
    for (int i = network.bits; i < 128; ++i) {
      if ((network.address[static_cast<size_t>(i / 8)] >> (7 - i % 8) & 1) != 0) {
        return InvalidArgument("'{}' has bits behind its prefix", text);
      }
    }
    list.networks_.push_back(network);
  }
  return list;
}

bool IpList::Contains(std::string_view peer) const {
  const auto address = ParseAddress(BareAddress(peer));
  if (!address) return false;
  return std::any_of(networks_.begin(), networks_.end(), [&](const Network& network) {
    const auto whole = static_cast<size_t>(network.bits / 8);
    if (!std::equal(network.address.begin(), network.address.begin() + static_cast<long>(whole),
                    address->begin())) {
      return false;
    }
    const int rest = network.bits % 8;
    return rest == 0 || network.address[whole] >> (8 - rest) == (*address)[whole] >> (8 - rest);
  });
}

}  // namespace weft::identity
