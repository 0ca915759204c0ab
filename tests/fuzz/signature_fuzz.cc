// Headers of signed requests: the first line is Authorization, then key id, timestamp, signature.
#include <array>

#include "libs/identity/request_signature.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::identity;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::array<std::string_view, 4> part{};
  for (std::string_view& one : part) {
    one = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
  }
  const auto parsed = ParseSignature(part[0], part[1], part[2], part[3]);
  if (!parsed.ok() || !*parsed) return 0;
  const RequestSignature& signature = **parsed;
  if (VerifySignatureV1(signature, "secret", text) ||
      VerifySignatureV2(signature, "secret", "POST", "/x")) {
    __builtin_trap();
  }
  // What is written is read as it was.
  if (signature.version == 2) {
    const std::string again = SignV2Header("secret", signature.key_id, signature.timestamp,
                                           signature.nonce, "POST", "/x", text);
    const auto good = ParseSignature(again, "", "", "");
    if (!good.ok() || !*good || !VerifySignatureV2(**good, "secret", "POST", "/x") ||
        !MatchesBody(**good, text)) {
      __builtin_trap();
    }
  }
  return 0;
}
