#include "libs/identity/cookie.h"

#include <fmt/format.h>

#include <algorithm>

namespace weft::identity {
namespace {

constexpr size_t kMaxValueBytes = 8 << 10;

// RFC 6265 section 4.1.1.
bool IsCookieOctet(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte < 0x7f && c != '"' && c != ',' && c != ';' && c != '\\';
}

}  // namespace

std::optional<std::string_view> FindCookie(std::string_view header, std::string_view name) {
  std::optional<std::string_view> found;
  while (!header.empty()) {
    const size_t end = header.find(';');
    std::string_view pair = header.substr(0, end);
    header.remove_prefix(end == std::string_view::npos ? header.size() : end + 1);
    while (!pair.empty() && pair.front() == ' ') pair.remove_prefix(1);
    if (!pair.starts_with(name) || pair.size() == name.size() || pair[name.size()] != '=') continue;
    if (found) return std::nullopt;
    found = pair.substr(name.size() + 1);
  }
  if (!found || found->empty() || found->size() > kMaxValueBytes ||
      !std::all_of(found->begin(), found->end(), IsCookieOctet)) {
    return std::nullopt;
  }
  return found;
}

std::string SetCookie(std::string_view name, std::string_view value, std::chrono::seconds lifetime,
                      SameSite same_site, bool script) {
  return fmt::format("{}={}; Path=/; Secure; SameSite={}; Max-Age={}{}", name, value,
                     same_site == SameSite::kStrict ? "Strict" : "Lax", lifetime.count(),
                     script ? "" : "; HttpOnly");
}

}  // namespace weft::identity
