#include "libs/base/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "libs/base/status.h"

namespace weft {
namespace {

constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool IsPort(std::string_view text) {
  return !text.empty() && text.size() <= 5 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// The host of "host", "host:port" or "[host]:port".
std::string_view HostOf(std::string_view text) {
  if (!text.empty() && text.front() == '[') {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return {};
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && (rest.front() != ':' || !IsPort(rest.substr(1)))) return {};
    return text.substr(1, close - 1);
  }
  if (std::count(text.begin(), text.end(), ':') != 1) return text;
  const size_t colon = text.find(':');
  return IsPort(text.substr(colon + 1)) ? text.substr(0, colon) : std::string_view();
}

}  // namespace

std::optional<IpAddress> IpAddress::Parse(std::string_view text) {
  std::string_view bare = HostOf(text);
  bare = bare.substr(0, bare.find('%'));
  if (bare.empty() || bare.size() > 45) return std::nullopt;
  const std::string host(bare);
  IpAddress out;
  if (inet_pton(AF_INET, host.c_str(), out.bytes_.data() + 12) == 1) {
    std::copy(kMapped.begin(), kMapped.end(), out.bytes_.begin());
    return out;
  }
  if (inet_pton(AF_INET6, host.c_str(), out.bytes_.data()) == 1) return out;
  return std::nullopt;
}

std::optional<IpAddress> IpAddress::ParsePeer(std::string_view peer) {
  if (peer.substr(0, 5) == "ipv4:" || peer.substr(0, 5) == "ipv6:") peer.remove_prefix(5);
  if (peer.substr(0, 3) != "%5B") return Parse(peer);
  const size_t close = peer.find("%5D");  // brackets, as URLs write them
  if (close == std::string_view::npos) return std::nullopt;
  return Parse(std::string("[").append(peer.substr(3, close - 3)).append("]"));
}

bool IpAddress::is_v4() const { return std::equal(kMapped.begin(), kMapped.end(), bytes_.begin()); }

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (is_v4()) {
    inet_ntop(AF_INET, bytes_.data() + 12, text, sizeof(text));
  } else {
    inet_ntop(AF_INET6, bytes_.data(), text, sizeof(text));
  }
  return text;
}

IpAddress IpAddress::Network64() const {
  IpAddress out = *this;
  if (!is_v4()) std::fill(out.bytes_.begin() + 8, out.bytes_.end(), uint8_t{0});
  return out;
}

absl::StatusOr<IpNetwork> IpNetwork::Parse(std::string_view text) {
  const size_t slash = text.find('/');
  const std::string_view host = text.substr(0, slash);
  const auto base = IpAddress::Parse(host);
  if (!base || host.find_first_of("[]%") != std::string_view::npos ||
      (base->is_v4() && host.find(':') != std::string_view::npos && host.find('.') != 0 &&
       host.substr(0, 2) != "::")) {
    return InvalidArgument("'{}' is not a network such as 10.0.0.0/8 or 2001:db8::/32", text);
  }
  const int most = base->is_v4() ? 32 : 128;
  int bits = most;
  if (slash != std::string_view::npos) {
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (error != std::errc() || end != digits.data() + digits.size() || bits < 0 || bits > most) {
      return InvalidArgument("'{}': the prefix must be 0 to {} bits", text, most);
    }
  }
  IpNetwork out;
  out.base_ = *base;
  out.bits_ = bits + (128 - most);
  for (int bit = out.bits_; bit < 128; ++bit) {
    if ((base->bytes()[static_cast<size_t>(bit / 8)] >> (7 - bit % 8) & 1) != 0) {
      return InvalidArgument("'{}' has bits set beyond its prefix", text);
    }
  }
  return out;
}

bool IpNetwork::Contains(const IpAddress& address) const {
  const size_t whole = static_cast<size_t>(bits_ / 8);
  const auto& a = base_.bytes();
  const auto& b = address.bytes();
  if (!std::equal(a.begin(), a.begin() + static_cast<ptrdiff_t>(whole), b.begin())) return false;
  const int rest = bits_ % 8;
  return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

absl::StatusOr<std::vector<IpNetwork>> ParseNetworks(std::span<const std::string> texts) {
  std::vector<IpNetwork> out;
  for (const std::string& text : texts) {
    WEFT_ASSIGN_OR_RETURN(const IpNetwork network, IpNetwork::Parse(text));
    out.push_back(network);
  }
  return out;
}

bool AnyContains(std::span<const IpNetwork> networks, const IpAddress& address) {
  return std::any_of(networks.begin(), networks.end(),
                     [&](const IpNetwork& network) { return network.Contains(address); });
}

}  // namespace weft
