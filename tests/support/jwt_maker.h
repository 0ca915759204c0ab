// A private key that signs tokens, as issuers and attackers have one.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

struct evp_pkey_st;

namespace weft::test {

class JwtMaker {
 public:
  static JwtMaker Rsa(int bits);
  static JwtMaker Elliptic(const std::string& curve);  // "P-256"
  static JwtMaker Ed25519();

  // The public key, with a kid when one is given.
  nlohmann::json Jwk(const std::string& kid = "") const;
  std::string Pem() const;  // of the public key

  // Signs as header.alg says; `shown` replaces it in the header that is signed.
  std::string Sign(nlohmann::json header, const nlohmann::json& claims,
                   const std::string& shown = "") const;
  // ECDSA with SHA-256.
  std::string DerSignature(const std::string& text) const;
  std::string NegatedS(const std::string& s) const;  // of P-256

 private:
  std::string Bytes(const char* parameter) const;
  std::string Number(const char* parameter, size_t size) const;
  std::string Signature(const std::string& algorithm, const std::string& text) const;

  std::shared_ptr<evp_pkey_st> key_;
  std::string curve_;
};

}  // namespace weft::test
