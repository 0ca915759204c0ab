#include "libs/cache/cache_key.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "libs/base/ids.h"
#include "libs/base/status.h"

namespace weft::cache {
namespace {

constexpr std::string_view kPrefix = "code_gen:";

std::string Encoded(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_' || c == '-' || c == '/';
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace

std::string CacheKey(const KeyParts& parts) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  WEFT_CHECK(context != nullptr && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1);
  for (const std::string_view part : {parts.tenant, parts.model, parts.version, parts.request}) {
    const std::string length = fmt::format("{}:", part.size());
    EVP_DigestUpdate(context.get(), length.data(), length.size());
    EVP_DigestUpdate(context.get(), part.data(), part.size());
  }
  std::array<uint8_t, 32> digest{};
  WEFT_CHECK(EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1);
  return fmt::format("{}{}:{}:{}", kPrefix, Encoded(parts.tenant), Encoded(parts.model),
                     Hex(digest));
}

bool GlobMatches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0;
  size_t star = std::string_view::npos, matched = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      matched = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++matched;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool KeyPattern::Matches(std::string_view key) const {
  if (key.substr(0, kPrefix.size()) != kPrefix) return false;
  const std::string_view rest = key.substr(kPrefix.size());
  const size_t first = rest.find(':');
  const size_t second = first == std::string_view::npos ? first : rest.find(':', first + 1);
  if (second == std::string_view::npos) return false;
  if (!tenant.empty() && rest.substr(0, first) != Encoded(tenant)) return false;
  if (!model.empty() && rest.substr(first + 1, second - first - 1) != Encoded(model)) return false;
  return glob.empty() || GlobMatches(glob, key);
}

std::string KeyPattern::RedisGlob() const {
  return fmt::format("{}{}:{}:*", kPrefix, tenant.empty() ? "*" : Encoded(tenant),
                     model.empty() ? "*" : Encoded(model));
}

std::string KeyPattern::Encode() const {
  return fmt::format("{} {} {}", Encoded(tenant), Encoded(model), Encoded(glob));
}

bool KeyPattern::Decode(std::string_view text, KeyPattern& out) {
  std::string* const fields[] = {&out.tenant, &out.model, &out.glob};
  for (size_t i = 0; i < 3; ++i) {
    const size_t end = i < 2 ? text.find(' ') : text.size();
    if (end == std::string_view::npos) return false;
    fields[i]->clear();
    for (size_t at = 0; at < end; ++at) {
      if (text[at] != '%') {
        *fields[i] += text[at];
        continue;
      }
      std::array<uint8_t, 1> byte{};
      if (at + 3 > end || !ParseHex(text.substr(at + 1, 2), byte)) return false;
      *fields[i] += static_cast<char>(byte[0]);
      at += 2;
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return true;
}

}  // namespace weft::cache
