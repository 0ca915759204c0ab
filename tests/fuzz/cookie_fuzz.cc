// Cookie headers, sealed cookies, paths to return to, addresses and text with secrets.
#include "libs/base/ip_address.h"
#include "libs/identity/api_key.h"
#include "libs/identity/base64url.h"
#include "libs/identity/cookie.h"
#include "libs/identity/ldap_login.h"
#include "libs/identity/oidc_login.h"
#include "libs/identity/sealed_text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::identity;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const std::string key(32, 'k');
  const auto cookie = FindCookie(text, kSessionCookie);
  if (cookie && cookie->find_first_of("; \"\r\n") != std::string_view::npos) __builtin_trap();
  if (OpenText(text, key)) __builtin_trap();
  if (const auto bytes = Base64UrlDecode(text); bytes && Base64UrlEncode(*bytes) != text) {
    __builtin_trap();
  }
  if (IsLocalPath(text) && (text.starts_with("//") || text.find('\\') != std::string_view::npos)) {
    __builtin_trap();
  }
  const std::string escaped = EscapeFilter(text);
  if (escaped.find_first_of("()*") != std::string::npos) __builtin_trap();
  const auto address = weft::IpAddress::ParsePeer(text);
  if (const auto network = weft::IpNetwork::Parse(text); network.ok() && address) {
    static_cast<void>(network->Contains(*address));
  }
  if (address && weft::IpAddress::Parse(address->ToString()) != address) __builtin_trap();
  const std::string redacted = RedactSecrets(text);
  if (RedactSecrets(redacted) != redacted) __builtin_trap();
  return 0;
}
