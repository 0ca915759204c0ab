#include "tests/support/jwt_maker.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <stdexcept>
#include <vector>

#include "libs/identity/base64url.h"

namespace weft::test {
namespace {

using identity::Base64UrlEncode;

void Check(bool ok, const char* what) {
  if (!ok) throw std::runtime_error(std::string("OpenSSL: ") + what);
}

std::shared_ptr<EVP_PKEY> Own(EVP_PKEY* key) {
  Check(key != nullptr, "key");
  return {key, &EVP_PKEY_free};
}

std::string ToBytes(const BIGNUM* number, size_t size) {
  const size_t used = size == 0 ? static_cast<size_t>(BN_num_bytes(number)) : size;
  std::string bytes(used, '\0');
  Check(BN_bn2binpad(number, reinterpret_cast<unsigned char*>(bytes.data()),
                     static_cast<int>(used)) >= 0,
        "number");
  return bytes;
}

size_t CurveBytes(const std::string& curve) {
  return curve == "P-256" ? 32 : curve == "P-384" ? 48 : 66;
}

}  // namespace

JwtMaker JwtMaker::Rsa(int bits) {
  JwtMaker maker;
  maker.key_ = Own(EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", static_cast<size_t>(bits)));
  return maker;
}

JwtMaker JwtMaker::Elliptic(const std::string& curve) {
  JwtMaker maker;
  maker.key_ = Own(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", curve.c_str()));
  maker.curve_ = curve;
  return maker;
}

JwtMaker JwtMaker::Ed25519() {
  JwtMaker maker;
  maker.key_ = Own(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  maker.curve_ = "Ed25519";
  return maker;
}

std::string JwtMaker::Number(const char* parameter, size_t size) const {
  BIGNUM* number = nullptr;
  Check(EVP_PKEY_get_bn_param(key_.get(), parameter, &number) == 1, parameter);
  std::string bytes = ToBytes(number, size);
  BN_free(number);
  return Base64UrlEncode(bytes);
}

nlohmann::json JwtMaker::Jwk(const std::string& kid) const {
  nlohmann::json jwk;
  if (curve_.empty()) {
    jwk = {{"kty", "RSA"},
           {"n", Number(OSSL_PKEY_PARAM_RSA_N, 0)},
           {"e", Number(OSSL_PKEY_PARAM_RSA_E, 0)}};
  } else if (curve_ == "Ed25519") {
    std::string raw(32, '\0');
    size_t size = raw.size();
    Check(EVP_PKEY_get_raw_public_key(key_.get(), reinterpret_cast<unsigned char*>(raw.data()),
                                      &size) == 1,
          "raw key");
    jwk = {{"kty", "OKP"}, {"crv", curve_}, {"x", Base64UrlEncode(raw)}};
  } else {
    jwk = {{"kty", "EC"},
           {"crv", curve_},
           {"x", Number(OSSL_PKEY_PARAM_EC_PUB_X, CurveBytes(curve_))},
           {"y", Number(OSSL_PKEY_PARAM_EC_PUB_Y, CurveBytes(curve_))}};
  }
  if (!kid.empty()) jwk["kid"] = kid;
  return jwk;
}

std::string JwtMaker::Pem() const {
  BIO* bio = BIO_new(BIO_s_mem());
  Check(PEM_write_bio_PUBKEY(bio, key_.get()) == 1, "PEM");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string pem(data, static_cast<size_t>(size));
  BIO_free(bio);
  return pem;
}

std::string JwtMaker::Signature(const std::string& algorithm, const std::string& text) const {
  const std::string digits = algorithm.size() == 5 ? algorithm.substr(2) : "";
  const EVP_MD* digest = digits == "256"   ? EVP_sha256()
                         : digits == "384" ? EVP_sha384()
                         : digits == "512" ? EVP_sha512()
                                           : nullptr;
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  EVP_PKEY_CTX* key_context = nullptr;
  Check(EVP_DigestSignInit(context, &key_context, digest, nullptr, key_.get()) == 1, "init");
  if (algorithm.starts_with("PS")) {
    Check(EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING) == 1 &&
              EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, RSA_PSS_SALTLEN_DIGEST) == 1,
          "PSS");
  }
  std::vector<unsigned char> bytes(1024);
  size_t size = bytes.size();
  Check(EVP_DigestSign(context, bytes.data(), &size,
                       reinterpret_cast<const unsigned char*>(text.data()), text.size()) == 1,
        "sign");
  EVP_MD_CTX_free(context);
  return {reinterpret_cast<const char*>(bytes.data()), size};
}

std::string JwtMaker::DerSignature(const std::string& text) const {
  return Signature("ES256", text);
}

std::string JwtMaker::NegatedS(const std::string& s) const {
  EC_GROUP* group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
  BIGNUM* number = BN_bin2bn(reinterpret_cast<const unsigned char*>(s.data()),
                             static_cast<int>(s.size()), nullptr);
  Check(BN_sub(number, EC_GROUP_get0_order(group), number) == 1, "subtract");
  std::string bytes = ToBytes(number, 32);
  BN_free(number);
  EC_GROUP_free(group);
  return bytes;
}

std::string JwtMaker::Sign(nlohmann::json header, const nlohmann::json& claims,
                           const std::string& shown) const {
  const std::string algorithm = header.at("alg");
  if (!shown.empty()) header["alg"] = shown;
  const std::string text = Base64UrlEncode(header.dump()) + "." + Base64UrlEncode(claims.dump());
  std::string signature = Signature(algorithm, text);
  if (algorithm.starts_with("ES")) {
    const auto* der = reinterpret_cast<const unsigned char*>(signature.data());
    ECDSA_SIG* pair = d2i_ECDSA_SIG(nullptr, &der, static_cast<long>(signature.size()));
    Check(pair != nullptr, "DER");
    const size_t size = CurveBytes(curve_);
    signature = ToBytes(ECDSA_SIG_get0_r(pair), size) + ToBytes(ECDSA_SIG_get0_s(pair), size);
    ECDSA_SIG_free(pair);
  }
  return text + "." + Base64UrlEncode(signature);
}

}  // namespace weft::test
