#include "libs/identity/sealed_text.h"

#include <openssl/evp.h>

#include <array>
#include <memory>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/identity/base64url.h"

namespace weft::identity {
namespace {

constexpr size_t kKeyBytes = 32;
constexpr size_t kNonceBytes = 12;
constexpr size_t kTagBytes = 16;
constexpr size_t kMaxSealedBytes = 8 << 10;

struct Free {
  void operator()(EVP_CIPHER_CTX* p) const { EVP_CIPHER_CTX_free(p); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, Free>;

const unsigned char* Data(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Data(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

}  // namespace

std::string SealText(std::string_view text, std::string_view key) {
  WEFT_CHECK(key.size() == kKeyBytes);
  std::array<uint8_t, kNonceBytes> nonce;
  RandomBytes(nonce);
  std::string sealed(text.size(), '\0');
  std::string tag(kTagBytes, '\0');
  const Context context(EVP_CIPHER_CTX_new());
  int size = 0;
  const bool made =
      context &&
      EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Data(key), nonce.data()) == 1 &&
      EVP_EncryptUpdate(context.get(), Data(sealed), &size, Data(text),
                        static_cast<int>(text.size())) == 1 &&
      EVP_EncryptFinal_ex(context.get(), Data(sealed) + size, &size) == 1 &&
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, tag.data()) == 1;
  WEFT_CHECK(made);
  return Base64UrlEncode(std::string(reinterpret_cast<const char*>(nonce.data()), nonce.size()) +
                         sealed + tag);
}

std::optional<std::string> OpenText(std::string_view sealed, std::string_view key) {
  WEFT_CHECK(key.size() == kKeyBytes);
  if (sealed.size() > kMaxSealedBytes) return std::nullopt;
  const auto bytes = Base64UrlDecode(sealed);
  if (!bytes || bytes->size() < kNonceBytes + kTagBytes) return std::nullopt;
  const std::string_view all = *bytes;
  const std::string_view body = all.substr(kNonceBytes, all.size() - kNonceBytes - kTagBytes);
  std::string tag(all.substr(all.size() - kTagBytes));
  std::string text(body.size(), '\0');
  const Context context(EVP_CIPHER_CTX_new());
  int size = 0;
  const bool good =
      context &&
      EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Data(key), Data(all)) == 1 &&
      EVP_DecryptUpdate(context.get(), Data(text), &size, Data(body),
                        static_cast<int>(body.size())) == 1 &&
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, tag.data()) == 1 &&
      EVP_DecryptFinal_ex(context.get(), Data(text) + size, &size) == 1;
  if (!good) return std::nullopt;
  return text;
}

}  // namespace weft::identity
