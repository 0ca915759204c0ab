// The small parsers of limits, usage and cache, chosen by the first byte: a Redis URL, a pattern of
// cache keys, a row of usage, a peer's address. What is accepted must be the same after being
// written and read again.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "libs/base/status.h"
#include "libs/cache/cache_key.h"
#include "libs/limits/address_key.h"
#include "libs/redis/url.h"
#include "libs/usage/usage_row.h"

namespace {

void Check(bool condition) {
  if (!condition) abort();
}

void Url(std::string_view text) {
  const auto endpoint = weft::redis::ParseUrl(text);
  if (!endpoint.ok()) return;
  Check(endpoint->unix_path.size() < 108);
  Check(!endpoint->host.empty() && endpoint->port != 0);
  // The name has no secret, and is an address of the same place.
  const auto again = weft::redis::ParseUrl(endpoint->Name());
  if (!endpoint->unix_path.empty()) return;  // a path may hold what ends a URL's
  Check(again.ok() && again->host == endpoint->host && again->port == endpoint->port);
  Check(again->password.empty() && again->tls == endpoint->tls);
}

void Pattern(std::string_view text) {
  weft::cache::KeyPattern pattern;
  if (weft::cache::KeyPattern::Decode(text, pattern)) {
    weft::cache::KeyPattern again;
    Check(weft::cache::KeyPattern::Decode(pattern.Encode(), again));
    Check(again.tenant == pattern.tenant && again.model == pattern.model &&
          again.glob == pattern.glob);
  }
  const size_t cut = text.size() / 2;
  weft::cache::GlobMatches(text.substr(0, cut), text.substr(cut));
  Check(weft::cache::GlobMatches("*", text));
}

void Row(std::string_view text) {
  const auto row = weft::usage::FromJson(text);
  if (!row.ok()) return;
  const std::string line = weft::usage::ToJson(*row);
  Check(line.find('\n') == std::string::npos);
  const auto again = weft::usage::FromJson(line);
  Check(again.ok() && weft::usage::ToJson(*again) == line);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      Url(text);
      break;
    case 1:
      Pattern(text);
      break;
    case 2:
      Row(text);
      break;
    default:
      Check(weft::limits::AddressKey(text).size() <= 40);
  }
  return 0;
}
