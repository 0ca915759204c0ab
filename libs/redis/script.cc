#include "libs/redis/script.h"

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <span>

#include "libs/base/ids.h"
#include "libs/base/status.h"

namespace weft::redis {

Script::Script(std::string_view source) : source_(source) {
  std::array<uint8_t, 20> digest{};
  unsigned size = 0;
  WEFT_CHECK(
      EVP_Digest(source_.data(), source_.size(), digest.data(), &size, EVP_sha1(), nullptr) == 1 &&
      size == digest.size());
  sha1_ = Hex(digest);
}

}  // namespace weft::redis
