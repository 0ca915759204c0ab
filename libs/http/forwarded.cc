#include "libs/http/forwarded.h"

namespace weft::http {
namespace {

std::string_view Trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
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

std::optional<ForwardedClient> FindClient(const Headers& headers, std::string_view peer,
                                          std::span<const IpNetwork> trusted,
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
