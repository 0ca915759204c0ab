#include "libs/identity/api_key.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <memory>

#include "libs/base/ids.h"
#include "libs/base/status.h"

namespace weft::identity {
namespace {

constexpr std::string_view kPrefix = "weft_";
constexpr std::string_view kAlphabet =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr size_t kIdLength = 12;
constexpr size_t kSecretLength = 43;
constexpr size_t kCheckLength = 6;
constexpr size_t kTailLength =
    kIdLength + 1 + kSecretLength + kCheckLength;  // after the environment
constexpr size_t kMaxEnvironment = 16;

// Uniform: bytes beyond the largest multiple of 62 are thrown away.
std::string RandomBase62(size_t length) {
  std::string out;
  while (out.size() < length) {
    std::array<uint8_t, 64> bytes;
    RandomBytes(bytes);
    for (const uint8_t byte : bytes) {
      if (byte < 248 && out.size() < length) out.push_back(kAlphabet[byte % 62]);
    }
  }
  return out;
}

uint32_t Crc32(std::string_view text) {  // IEEE 802.3, reflected
  uint32_t crc = 0xffffffffu;
  for (const char c : text) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0xedb88320u : 0u);
  }
  return ~crc;
}

std::string CheckOf(std::string_view text) {
  std::string out(kCheckLength, '0');
  uint32_t value = Crc32(text);
  for (size_t i = kCheckLength; i-- > 0; value /= 62) out[i] = kAlphabet[value % 62];
  return out;
}

// Looked up once a thread: OpenSSL's own HMAC() does that at each call, which is most of its time.
EVP_MAC_CTX* HmacSha256() {
  struct Free {
    void operator()(EVP_MAC* mac) const { EVP_MAC_free(mac); }
    void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
  };
  thread_local const std::unique_ptr<EVP_MAC_CTX, Free> context = [] {
    const std::unique_ptr<EVP_MAC, Free> mac(EVP_MAC_fetch(nullptr, "HMAC", nullptr));
    std::unique_ptr<EVP_MAC_CTX, Free> made(EVP_MAC_CTX_new(mac.get()));
    char digest[] = "SHA256";
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end()};
    WEFT_CHECK(made != nullptr && EVP_MAC_CTX_set_params(made.get(), parameters) == 1);
    return made;
  }();
  return context.get();
}

}  // namespace

bool IsEnvironmentName(std::string_view text) {
  return !text.empty() && text.size() <= kMaxEnvironment &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
}

ApiKeyText NewApiKey(std::string_view environment) {
  ApiKeyText key;
  key.id = RandomBase62(kIdLength);
  key.text = kPrefix;
  if (!environment.empty()) key.text.append(environment).append("_");
  key.text += key.id + "_" + RandomBase62(kSecretLength);
  key.text += CheckOf(key.text);
  return key;
}

std::optional<std::string_view> ApiKeyId(std::string_view text) {
  if (!text.starts_with(kPrefix) || text.size() < kPrefix.size() + kTailLength ||
      text.size() > kPrefix.size() + kMaxEnvironment + 1 + kTailLength) {
    return std::nullopt;
  }
  std::string_view environment =
      text.substr(kPrefix.size(), text.size() - kPrefix.size() - kTailLength);
  if (!environment.empty()) {
    if (environment.back() != '_') return std::nullopt;
    environment.remove_suffix(1);
    if (!IsEnvironmentName(environment)) return std::nullopt;
  }
  const std::string_view tail = text.substr(text.size() - kTailLength);
  const std::string_view id = tail.substr(0, kIdLength);
  const std::string_view rest = tail.substr(kIdLength);
  if (rest.front() != '_' || id.find_first_not_of(kAlphabet) != std::string_view::npos ||
      rest.substr(1).find_first_not_of(kAlphabet) != std::string_view::npos) {
    return std::nullopt;
  }
  if (CheckOf(text.substr(0, text.size() - kCheckLength)) !=
      text.substr(text.size() - kCheckLength)) {
    return std::nullopt;
  }
  return id;
}

std::string HashApiKey(std::string_view text, std::string_view salt, std::string_view pepper) {
  const std::string key = std::string(pepper) + std::string(salt);
  std::string hash(32, '\0');
  size_t size = 0;
  EVP_MAC_CTX* const mac = HmacSha256();
  WEFT_CHECK(
      EVP_MAC_init(mac, reinterpret_cast<const unsigned char*>(key.data()), key.size(), nullptr) ==
          1 &&
      EVP_MAC_update(mac, reinterpret_cast<const unsigned char*>(text.data()), text.size()) == 1 &&
      EVP_MAC_final(mac, reinterpret_cast<unsigned char*>(hash.data()), &size, hash.size()) == 1 &&
      size == hash.size());
  return hash;
}

std::string NewSalt() {
  std::array<uint8_t, 16> bytes;
  RandomBytes(bytes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string RedactSecrets(std::string_view text) {
  std::string out;
  while (true) {
    size_t at = std::min(text.find(kPrefix), text.find("wsig_"));
    if (at == std::string_view::npos) return out.append(text);
    at += kPrefix.size();
    out.append(text.substr(0, at));
    text.remove_prefix(at);
    size_t end = 0;
    while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) != 0 ||
                                 text[end] == '_' || text[end] == '-')) {
      ++end;
    }
    if (end >= kSecretLength) {
      out += "***";
    } else {
      out.append(text.substr(0, end));
    }
    text.remove_prefix(end);
  }
}

bool ConstantTimeEquals(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace weft::identity
