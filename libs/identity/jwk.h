// Keys that signatures of tokens are checked with: JSON Web Keys (RFC 7517, 7518, 8037) of issuers.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "libs/identity/jws_algorithm.h"

struct evp_pkey_st;

namespace weft::identity {

// A public key and the algorithms that it may be used with. Immutable and thread safe.
class JwsKey {
 public:
  // From one member of a JWK Set. `rsa_algorithms` are those of an RSA key that names none itself;
  // for other keys the curve decides. INVALID_ARGUMENT for what is not a sound public key:
  //   a symmetric or private key; RSA of less than 2,048 or more than 8,192 bits, or whose public
  //   exponent is even, below 65,537 or over 64 bits; a point that is not on its curve; a curve
  //   other than P-256, P-384, P-521 and Ed25519; a key that is not for checking signatures; an
  //   algorithm that is not of its kind; a kid over 256 bytes.
  static absl::StatusOr<JwsKey> FromJwk(const nlohmann::json& jwk,
                                        const std::vector<JwsAlgorithm>& rsa_algorithms);

  const std::string& kid() const { return kid_; }  // empty: it has none
  const std::vector<JwsAlgorithm>& algorithms() const { return algorithms_; }
  bool Takes(JwsAlgorithm algorithm) const;

  // Whether `signature` (as a JWS carries it) is this key's over `text`. False for an algorithm
  // that is not one of the key's.
  bool Verify(JwsAlgorithm algorithm, std::string_view text, std::string_view signature) const;

 private:
  JwsKey() = default;
  std::string kid_;
  std::vector<JwsAlgorithm> algorithms_;
  std::shared_ptr<evp_pkey_st> key_;
};

// The sound keys of a JWK Set; others are left out, as RFC 7517 section 5 asks. Two keys of one kid
// are both left out: which one is meant cannot be known. INVALID_ARGUMENT for what is no JWK Set,
// or one of more than 64 keys or 256 KiB.
absl::StatusOr<std::vector<JwsKey>> ParseJwkSet(std::string_view text,
                                                const std::vector<JwsAlgorithm>& rsa_algorithms);

}  // namespace weft::identity
