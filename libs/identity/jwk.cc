#include "libs/identity/jwk.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/identity/base64url.h"
#include "libs/json/strict_json.h"

namespace weft::identity {
namespace {

using nlohmann::json;

constexpr size_t kMaxSetBytes = size_t{256} << 10;
constexpr size_t kMaxKeys = 64;
constexpr int kMinRsaBits = 2048;
constexpr int kMaxRsaBits = 8192;
constexpr size_t kMaxKidBytes = 256;

struct Free {
  void operator()(BIGNUM* p) const { BN_free(p); }
  void operator()(EVP_PKEY_CTX* p) const { EVP_PKEY_CTX_free(p); }
  void operator()(EVP_MD_CTX* p) const { EVP_MD_CTX_free(p); }
  void operator()(OSSL_PARAM_BLD* p) const { OSSL_PARAM_BLD_free(p); }
  void operator()(OSSL_PARAM* p) const { OSSL_PARAM_free(p); }
  void operator()(ECDSA_SIG* p) const { ECDSA_SIG_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;
using KeyPtr = std::shared_ptr<EVP_PKEY>;

// OpenSSL keeps its errors in a queue of the thread; they are not needed here and must not pile up.
struct ErrorQueue {
  ~ErrorQueue() { ERR_clear_error(); }
};

const unsigned char* Data(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

absl::StatusOr<std::string> Text(const json& jwk, const char* name) {
  const auto it = jwk.find(name);
  if (it == jwk.end() || !it->is_string()) return InvalidArgument("{}: must be a string", name);
  return it->get<std::string>();
}

absl::StatusOr<std::string> Bytes(const json& jwk, const char* name, size_t max) {
  WEFT_ASSIGN_OR_RETURN(const std::string text, Text(jwk, name));
  if (text.size() > max * 4 / 3 + 4) return InvalidArgument("{}: is too long", name);
  auto bytes = Base64UrlDecode(text);
  if (!bytes || bytes->empty()) return InvalidArgument("{}: is not base64url", name);
  return *std::move(bytes);
}

Owned<BIGNUM> Number(std::string_view bytes) {
  return Owned<BIGNUM>(BN_bin2bn(Data(bytes), static_cast<int>(bytes.size()), nullptr));
}

KeyPtr Build(const char* type, OSSL_PARAM_BLD* builder) {
  const Owned<OSSL_PARAM> params(OSSL_PARAM_BLD_to_param(builder));
  const Owned<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr));
  EVP_PKEY* key = nullptr;
  if (!params || !context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, params.get()) != 1) {
    return nullptr;
  }
  return {key, &EVP_PKEY_free};
}

bool IsSound(EVP_PKEY* key) {
  const Owned<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new_from_pkey(nullptr, key, nullptr));
  return context && EVP_PKEY_public_check(context.get()) == 1;
}

absl::StatusOr<KeyPtr> Rsa(const json& jwk) {
  WEFT_ASSIGN_OR_RETURN(const std::string n_bytes, Bytes(jwk, "n", kMaxRsaBits / 8 + 1));
  WEFT_ASSIGN_OR_RETURN(const std::string e_bytes, Bytes(jwk, "e", 8));
  const auto n = Number(n_bytes);
  const auto e = Number(e_bytes);
  if (!n || !e) return InvalidArgument("n: cannot be read");
  const int bits = BN_num_bits(n.get());
  if (bits < kMinRsaBits || bits > kMaxRsaBits) {
    return InvalidArgument("n: has {} bits; {} to {} are taken", bits, kMinRsaBits, kMaxRsaBits);
  }
  if (!BN_is_odd(n.get())) return InvalidArgument("n: is even");
  // A small exponent makes forgeries of badly padded signatures possible; 1 makes anything a
  // signature of itself.
  if (!BN_is_odd(e.get()) || BN_num_bits(e.get()) < 17 || BN_num_bits(e.get()) > 64) {
    return InvalidArgument("e: must be odd, at least 65537 and at most 64 bits");
  }
  const Owned<OSSL_PARAM_BLD> builder(OSSL_PARAM_BLD_new());
  if (!builder || OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) != 1 ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) != 1) {
    return InvalidArgument("n: cannot be used");
  }
  KeyPtr key = Build("RSA", builder.get());
  if (!key) return InvalidArgument("n: cannot be used");
  return key;
}

struct Curve {
  std::string_view name;
  const char* group;
  size_t bytes;
  JwsAlgorithm algorithm;
};
constexpr Curve kCurves[] = {{"P-256", "P-256", 32, JwsAlgorithm::kEs256},
                             {"P-384", "P-384", 48, JwsAlgorithm::kEs384},
                             {"P-521", "P-521", 66, JwsAlgorithm::kEs512}};

size_t CurveBytes(JwsAlgorithm algorithm) {
  for (const Curve& curve : kCurves) {
    if (curve.algorithm == algorithm) return curve.bytes;
  }
  return 0;
}

absl::StatusOr<KeyPtr> Elliptic(const json& jwk, JwsAlgorithm& algorithm) {
  WEFT_ASSIGN_OR_RETURN(const std::string name, Text(jwk, "crv"));
  for (const Curve& curve : kCurves) {
    if (curve.name != name) continue;
    WEFT_ASSIGN_OR_RETURN(const std::string x, Bytes(jwk, "x", curve.bytes));
    WEFT_ASSIGN_OR_RETURN(const std::string y, Bytes(jwk, "y", curve.bytes));
    if (x.size() != curve.bytes || y.size() != curve.bytes) {
      return InvalidArgument("x, y: must have {} bytes each", curve.bytes);
    }
    std::string point(1, '\x04');  // uncompressed (SEC 1 section 2.3.3)
    point.append(x).append(y);
    const Owned<OSSL_PARAM_BLD> builder(OSSL_PARAM_BLD_new());
    if (!builder ||
        OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, curve.group,
                                        0) != 1 ||
        OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                         point.size()) != 1) {
      return InvalidArgument("x: cannot be used");
    }
    KeyPtr key = Build("EC", builder.get());
    if (!key || !IsSound(key.get())) {
      return InvalidArgument("x, y: is no point of {}", curve.name);
    }
    algorithm = curve.algorithm;
    return key;
  }
  return InvalidArgument("crv: '{}' is not taken", name.substr(0, 32));
}

absl::StatusOr<KeyPtr> Edwards(const json& jwk) {
  WEFT_ASSIGN_OR_RETURN(const std::string name, Text(jwk, "crv"));
  if (name != "Ed25519") return InvalidArgument("crv: '{}' is not taken", name.substr(0, 32));
  WEFT_ASSIGN_OR_RETURN(const std::string x, Bytes(jwk, "x", 32));
  if (x.size() != 32) return InvalidArgument("x: must have 32 bytes");
  EVP_PKEY* key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, Data(x), x.size());
  if (key == nullptr) return InvalidArgument("x: cannot be used");
  return KeyPtr(key, &EVP_PKEY_free);
}

// "use", "key_ops" and members that only private keys have.
absl::Status CheckPurpose(const json& jwk) {
  for (const char* name : {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}) {
    if (jwk.contains(name)) return InvalidArgument("{}: a private or symmetric key", name);
  }
  if (const auto use = jwk.find("use"); use != jwk.end() && *use != "sig") {
    return InvalidArgument("use: is not for signatures");
  }
  if (const auto ops = jwk.find("key_ops"); ops != jwk.end()) {
    const bool verify =
        ops->is_array() && std::find(ops->begin(), ops->end(), "verify") != ops->end();
    if (!verify) return InvalidArgument("key_ops: is not for checking signatures");
  }
  return absl::OkStatus();
}

const EVP_MD* DigestOf(JwsAlgorithm algorithm) {
  switch (DigestBits(algorithm)) {
    case 256:
      return EVP_sha256();
    case 384:
      return EVP_sha384();
    case 512:
      return EVP_sha512();
    default:
      return nullptr;
  }
}

// A JWS has r and s as two numbers of the curve's size; OpenSSL takes DER. Empty for a wrong size,
// and for an r or s of 0 (which a broken verifier takes for any text).
std::string DerOf(std::string_view signature, size_t bytes) {
  if (signature.size() != 2 * bytes) return {};
  auto r = Number(signature.substr(0, bytes));
  auto s = Number(signature.substr(bytes));
  Owned<ECDSA_SIG> pair(ECDSA_SIG_new());
  if (!r || !s || !pair || BN_is_zero(r.get()) || BN_is_zero(s.get())) return {};
  if (ECDSA_SIG_set0(pair.get(), r.get(), s.get()) != 1) return {};
  static_cast<void>(r.release());
  static_cast<void>(s.release());
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(pair.get(), &der);
  if (size <= 0) return {};
  std::string out(reinterpret_cast<const char*>(der), static_cast<size_t>(size));
  OPENSSL_free(der);
  return out;
}

}  // namespace

absl::StatusOr<JwsKey> JwsKey::FromJwk(const json& jwk,
                                       const std::vector<JwsAlgorithm>& rsa_algorithms) {
  const ErrorQueue errors;
  if (!jwk.is_object()) return InvalidArgument("must be an object");
  WEFT_ASSIGN_OR_RETURN(const std::string type, Text(jwk, "kty"));
  WEFT_RETURN_IF_ERROR(CheckPurpose(jwk));
  JwsKey key;
  if (jwk.contains("kid")) {
    WEFT_ASSIGN_OR_RETURN(key.kid_, Text(jwk, "kid"));
    if (key.kid_.size() > kMaxKidBytes) return InvalidArgument("kid: is too long");
  }
  std::vector<JwsAlgorithm> possible;
  if (type == "RSA") {
    WEFT_ASSIGN_OR_RETURN(key.key_, Rsa(jwk));
    using enum JwsAlgorithm;
    possible = {kRs256, kRs384, kRs512, kPs256, kPs384, kPs512};
  } else if (type == "EC") {
    JwsAlgorithm algorithm{};
    WEFT_ASSIGN_OR_RETURN(key.key_, Elliptic(jwk, algorithm));
    possible = {algorithm};
  } else if (type == "OKP") {
    WEFT_ASSIGN_OR_RETURN(key.key_, Edwards(jwk));
    possible = {JwsAlgorithm::kEdDsa};
  } else {
    return InvalidArgument("kty: '{}' is not taken", type.substr(0, 32));
  }
  const auto is_possible = [&](JwsAlgorithm algorithm) {
    return std::find(possible.begin(), possible.end(), algorithm) != possible.end();
  };
  if (jwk.contains("alg")) {
    WEFT_ASSIGN_OR_RETURN(const std::string name, Text(jwk, "alg"));
    const auto algorithm = ParseJwsAlgorithm(name);
    if (!algorithm || !is_possible(*algorithm)) {
      return InvalidArgument("alg: '{}' is not one of this key's", name.substr(0, 32));
    }
    key.algorithms_ = {*algorithm};
  } else if (type == "RSA") {
    for (const JwsAlgorithm algorithm : rsa_algorithms) {
      if (is_possible(algorithm)) key.algorithms_.push_back(algorithm);
    }
    if (key.algorithms_.empty()) return InvalidArgument("alg: is missing");
  } else {
    key.algorithms_ = std::move(possible);
  }
  return key;
}

bool JwsKey::Takes(JwsAlgorithm algorithm) const {
  return std::find(algorithms_.begin(), algorithms_.end(), algorithm) != algorithms_.end();
}

bool JwsKey::Verify(JwsAlgorithm algorithm, std::string_view text,
                    std::string_view signature) const {
  const ErrorQueue errors;
  if (!Takes(algorithm)) return false;
  std::string der;
  const JwsFamily family = FamilyOf(algorithm);
  if (family == JwsFamily::kEcdsa) {
    der = DerOf(signature, CurveBytes(algorithm));
    if (der.empty()) return false;
    signature = der;
  }
  const Owned<EVP_MD_CTX> context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* key_context = nullptr;  // owned by `context`
  if (!context || EVP_DigestVerifyInit(context.get(), &key_context, DigestOf(algorithm), nullptr,
                                       key_.get()) != 1) {
    return false;
  }
  // RFC 7518 section 3.5: MGF1 with the same hash, a salt as long as the hash.
  if (family == JwsFamily::kRsaPss &&
      (EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING) != 1 ||
       EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, RSA_PSS_SALTLEN_DIGEST) != 1)) {
    return false;
  }
  return EVP_DigestVerify(context.get(), Data(signature), signature.size(), Data(text),
                          text.size()) == 1;
}

absl::StatusOr<std::vector<JwsKey>> ParseJwkSet(std::string_view text,
                                                const std::vector<JwsAlgorithm>& rsa_algorithms) {
  if (text.size() > kMaxSetBytes) return InvalidArgument("has more than {} bytes", kMaxSetBytes);
  WEFT_ASSIGN_OR_RETURN(const json set, ParseStrictJson(text, {.depth = 8, .values = 10'000}));
  if (!set.is_object() || !set.contains("keys") || !set.at("keys").is_array()) {
    return InvalidArgument("keys: must be a list");
  }
  const json& list = set.at("keys");
  if (list.size() > kMaxKeys) return InvalidArgument("keys: at most {} are taken", kMaxKeys);
  std::vector<JwsKey> keys;
  std::vector<std::string> doubled;
  for (const json& jwk : list) {
    auto key = JwsKey::FromJwk(jwk, rsa_algorithms);
    if (!key.ok()) continue;
    for (const JwsKey& other : keys) {
      if (other.kid() == key->kid()) doubled.push_back(key->kid());
    }
    keys.push_back(*std::move(key));
  }
  std::erase_if(keys, [&](const JwsKey& key) {
    return std::find(doubled.begin(), doubled.end(), key.kid()) != doubled.end();
  });
  return keys;
}

}  // namespace weft::identity
