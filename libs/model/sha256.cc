#include "libs/model/sha256.h"

#include <openssl/evp.h>

#include "libs/base/status.h"

namespace weft {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  WEFT_CHECK(state_->context != nullptr);
  WEFT_CHECK(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;

void Sha256::Add(std::string_view bytes) {
  WEFT_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
}

void Sha256::Add(std::string_view bytes, const std::function<void(std::string_view)>& taken) {
  constexpr size_t kSlice = size_t{1} << 20;
  while (!bytes.empty()) {
    const std::string_view slice = bytes.substr(0, kSlice);
    Add(slice);
    taken(slice);
    bytes.remove_prefix(slice.size());
  }
}

std::array<uint8_t, 32> Sha256::Digest() {
  std::array<uint8_t, 32> digest{};
  WEFT_CHECK(EVP_DigestFinal_ex(state_->context, digest.data(), nullptr) == 1);
  return digest;
}

}  // namespace weft
