#include "libs/fetch/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>

#include "libs/base/status.h"

namespace weft::fetch {

struct Sha256::Context {
  EVP_MD_CTX* md = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(md); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  WEFT_CHECK(EVP_DigestInit_ex(context_->md, EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Add(std::string_view bytes) {
  WEFT_CHECK(EVP_DigestUpdate(context_->md, bytes.data(), bytes.size()) == 1);
}

std::string Sha256::Hex() {
  unsigned char out[32];
  WEFT_CHECK(EVP_DigestFinal_ex(context_->md, out, nullptr) == 1);
  return fetch::Hex({reinterpret_cast<const char*>(out), sizeof out});
}

std::string Sha256Hex(std::string_view bytes) {
  Sha256 sum;
  sum.Add(bytes);
  return sum.Hex();
}

std::string HmacSha256(std::string_view key, std::string_view bytes) {
  unsigned char out[32];
  unsigned int size = sizeof out;
  WEFT_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                  reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), out,
                  &size) != nullptr);
  return {reinterpret_cast<const char*>(out), size};
}

std::string Hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const unsigned char c : bytes) {
    out += kDigits[c >> 4];
    out += kDigits[c & 15];
  }
  return out;
}

std::string Base64(std::string_view bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(bytes.data()),
                                   static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(size));
  return out;
}

std::optional<std::string> Base64Decode(std::string_view text) {
  std::string plain;
  for (const char c : text) {
    if (c != '\n' && c != '\r') plain += c;
  }
  if (plain.size() % 4 != 0 || plain.size() > (64u << 20)) return {};
  const size_t first_pad = plain.find('=');
  const size_t padding = first_pad == std::string::npos ? 0 : plain.size() - first_pad;
  if (padding > 2 || plain.find_first_not_of('=', first_pad) < plain.size()) return {};
  std::string out(plain.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(plain.data()),
                                   static_cast<int>(plain.size()));
  if (size < 0) return {};
  out.resize(static_cast<size_t>(size) - padding);  // the padding is decoded as zero bytes
  return out;
}

bool IsSha256Hex(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace weft::fetch
