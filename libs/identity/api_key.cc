#include "libs/identity/api_key.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <cstdint>

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
constexpr size_t kKeyLength = kPrefix.size() + kIdLength + 1 + kSecretLength + kCheckLength;

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

}  // namespace

ApiKeyText NewApiKey() {
  ApiKeyText key;
  key.id = RandomBase62(kIdLength);
  key.text = std::string(kPrefix) + key.id + "_" + RandomBase62(kSecretLength);
  key.text += CheckOf(key.text);
  return key;
}

std::optional<std::string_view> ApiKeyId(std::string_view text) {
  if (text.size() != kKeyLength || text.substr(0, kPrefix.size()) != kPrefix) return std::nullopt;
  const std::string_view id = text.substr(kPrefix.size(), kIdLength);
  const std::string_view rest = text.substr(kPrefix.size() + kIdLength);
  if (rest.front() != '_' || id.find_first_not_of(kAlphabet) != std::string_view::npos ||
      rest.substr(1).find_first_not_of(kAlphabet) != std::string_view::npos) {
    return std::nullopt;
  }
  if (CheckOf(text.substr(0, kKeyLength - kCheckLength)) !=
      text.substr(kKeyLength - kCheckLength)) {
    return std::nullopt;
  }
  return id;
}

std::string HashApiKey(std::string_view text, std::string_view salt, std::string_view pepper) {
  const std::string key = std::string(pepper) + std::string(salt);
  std::string hash(32, '\0');
  unsigned int size = 0;
  const auto* made = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                          reinterpret_cast<const unsigned char*>(text.data()), text.size(),
                          reinterpret_cast<unsigned char*>(hash.data()), &size);
  WEFT_CHECK(made != nullptr && size == 32);
  return hash;
}

std::string NewSalt() {
  std::array<uint8_t, 16> bytes;
  RandomBytes(bytes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool ConstantTimeEquals(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace weft::identity
