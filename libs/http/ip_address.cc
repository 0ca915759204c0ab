#include "libs/http/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "libs/base/status.h"

namespace weft::http {
namespace {

constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

std::string_view Trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

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

// One hop as it was written, the last proxy's first.
struct Hop {
  std::string_view address;
  std::string_view proto;
};

std::string_view Unquote(std::string_view s) {
  if (s.size() >= 2 && s.front() == '"' && s.back() == '"') return s.substr(1, s.size() - 2);
  return s;
}

// One element of RFC 7239's list: for=…;proto=…
Hop ParseForwarded(std::string_view element) {
  Hop hop;
  while (!element.empty()) {
    const size_t semicolon = element.find(';');
    const std::string_view pair = Trim(element.substr(0, semicolon));
    const size_t equals = pair.find('=');
    if (equals != std::string_view::npos) {
      const std::string_view name = pair.substr(0, equals);
      if (EqualsIgnoreCase(name, "for")) hop.address = Unquote(pair.substr(equals + 1));
      if (EqualsIgnoreCase(name, "proto")) hop.proto = Unquote(pair.substr(equals + 1));
    }
    if (semicolon == std::string_view::npos) break;
    element.remove_prefix(semicolon + 1);
  }
  return hop;
}

// Calls `visit` for the elements of all fields of that name, from the last to the first, until it
// says false.
template <typename Visit>
void FromTheRight(const Headers& headers, std::string_view name, Visit visit) {
  const auto& fields = headers.fields();
  for (auto field = fields.rbegin(); field != fields.rend(); ++field) {
    if (!EqualsIgnoreCase(field->name, name)) continue;
    std::string_view rest = field->value;
    while (true) {
      const size_t comma = rest.rfind(',');
      const size_t begin = comma == std::string_view::npos ? 0 : comma + 1;
      if (!visit(Trim(rest.substr(begin)))) return;
      if (comma == std::string_view::npos) break;
      rest = rest.substr(0, comma);
    }
  }
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

absl::StatusOr<std::vector<IpNetwork>> ParseNetworks(const std::vector<std::string>& texts) {
  std::vector<IpNetwork> out;
  for (const std::string& text : texts) {
    WEFT_ASSIGN_OR_RETURN(const IpNetwork network, IpNetwork::Parse(text));
    out.push_back(network);
  }
  return out;
}

bool AnyContains(const std::vector<IpNetwork>& networks, const IpAddress& address) {
  return std::any_of(networks.begin(), networks.end(),
                     [&](const IpNetwork& network) { return network.Contains(address); });
}

std::optional<ForwardedClient> FindClient(const Headers& headers, std::string_view peer,
                                          const std::vector<IpNetwork>& trusted,
                                          ForwardedHeader header) {
  auto at = IpAddress::Parse(peer);
  if (header == ForwardedHeader::kNone || !at || !AnyContains(trusted, *at)) return std::nullopt;
  ForwardedClient out;
  bool said = false;
  const auto visit = [&](const Hop& hop) {
    // `at` is trusted and wrote this hop.
    if (!hop.proto.empty()) {
      out.https = EqualsIgnoreCase(hop.proto, "https");
      said = true;
    }
    const auto next = IpAddress::Parse(hop.address);
    if (!next) return false;
    at = next;
    return AnyContains(trusted, *at);
  };
  if (header == ForwardedHeader::kForwarded) {
    FromTheRight(headers, "Forwarded",
                 [&](std::string_view element) { return visit(ParseForwarded(element)); });
  } else {
    FromTheRight(headers, "X-Forwarded-For", [&](std::string_view element) {
      return visit(Hop{element, {}});
    });
    // One word of the outermost proxy, or a list that grows like the addresses'.
    if (!said) {
      const std::string_view proto = headers.Get("X-Forwarded-Proto");
      out.https = EqualsIgnoreCase(Trim(proto.substr(0, proto.find(','))), "https");
    }
  }
  out.address = at->ToString();
  return out;
}

}  // namespace weft::http
