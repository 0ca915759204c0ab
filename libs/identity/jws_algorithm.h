// The signature algorithms of RFC 7518 section 3.1 and RFC 8037 that are known here. "none" is not
// one of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace weft::identity {

enum class JwsAlgorithm : uint8_t {
  kHs256,
  kRs256,
  kRs384,
  kRs512,
  kPs256,
  kPs384,
  kPs512,
  kEs256,
  kEs384,
  kEs512,
  kEdDsa,
};

enum class JwsFamily : uint8_t { kHmac, kRsa, kRsaPss, kEcdsa, kEdDsa };

std::string_view JwsAlgorithmName(JwsAlgorithm algorithm);  // "RS256"
// Names compare exactly: "hs256" and "None" are nothing.
std::optional<JwsAlgorithm> ParseJwsAlgorithm(std::string_view name);
JwsFamily FamilyOf(JwsAlgorithm algorithm);
int DigestBits(JwsAlgorithm algorithm);  // 256, 384, 512; 0 for EdDSA, which hashes by itself

}  // namespace weft::identity
