// Cookie headers, sealed cookies, paths to return to, addresses and text with secrets.
#include "libs/identity/api_key.h"
#include "libs/identity/base64url.h"
#include "libs/identity/cookie.h"
#include "libs/identity/ip_list.h"
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
  const auto list = IpList::Parse(std::vector<std::string>{std::string(text)});
  if (list.ok()) static_cast<void>(list->Contains("192.0.2.1"));
  static const IpList any = *IpList::Parse(std::vector<std::string>{"::/0"});
  static_cast<void>(any.Contains(text));
  const std::string redacted = RedactSecrets(text);
  if (RedactSecrets(redacted) != redacted) __builtin_trap();
  return 0;
}
