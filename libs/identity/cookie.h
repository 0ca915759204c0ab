// Cookies of browsers (RFC 6265).
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace weft::identity {

// The prefix makes browsers take them over TLS alone, for this host and every path.
inline constexpr std::string_view kSessionCookie = "__Host-weft_session";
inline constexpr std::string_view kCsrfCookie = "__Host-weft_csrf";
inline constexpr std::string_view kLoginCookie = "__Host-weft_login";

// The value of the cookie in a Cookie header. nullopt when it is not there, there twice (then
// somebody else may have set one of them), longer than 8 KiB, or not of cookie characters.
std::optional<std::string_view> FindCookie(std::string_view header, std::string_view name);

enum class SameSite { kStrict, kLax };

// A Set-Cookie header's value: Secure, Path=/, and HttpOnly unless `script` may read it. A lifetime
// of 0 takes the cookie away.
std::string SetCookie(std::string_view name, std::string_view value, std::chrono::seconds lifetime,
                      SameSite same_site, bool script = false);

}  // namespace weft::identity
