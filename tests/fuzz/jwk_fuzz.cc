// Key sets of issuers. A key that is taken must stand being used.
#include "libs/identity/jwk.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::identity;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto keys = ParseJwkSet(text, {JwsAlgorithm::kRs256, JwsAlgorithm::kPs256});
  if (!keys.ok()) return 0;
  for (const JwsKey& key : *keys) {
    if (key.Takes(JwsAlgorithm::kHs256)) __builtin_trap();
    for (const JwsAlgorithm algorithm : key.algorithms()) {
      if (key.Verify(algorithm, "text", text.substr(0, 64))) __builtin_trap();
    }
  }
  return 0;
}
