#include "libs/identity/jwt.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>

#include "libs/base/status.h"
#include "libs/identity/api_key.h"
#include "libs/identity/base64url.h"
#include "libs/json/strict_json.h"

namespace weft::identity {
namespace {

using nlohmann::json;

constexpr size_t kMaxNameBytes = 256;
constexpr std::string_view kRefused[] = {"crit", "jwk", "jku", "x5u", "x5c", "enc", "zip", "b64"};

absl::StatusOr<json> DecodeObject(std::string_view part) {
  const auto text = Base64UrlDecode(part);
  if (!text) return InvalidArgument("is not base64url");
  WEFT_ASSIGN_OR_RETURN(json value, ParseStrictJson(*text, {.depth = 8, .values = 1000}));
  if (!value.is_object()) return InvalidArgument("is no object");
  return value;
}

absl::Status ReadName(const json& header, const char* name, std::string& out) {
  const auto it = header.find(name);
  if (it == header.end()) return absl::OkStatus();
  if (!it->is_string()) return InvalidArgument("header.{}: is no string", name);
  out = it->get<std::string>();
  if (out.size() > kMaxNameBytes) return InvalidArgument("header.{}: is too long", name);
  return absl::OkStatus();
}

std::string HmacSha256(std::string_view text, std::string_view secret) {
  std::string mac(32, '\0');
  unsigned int size = 0;
  const auto* made = HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
                          reinterpret_cast<const unsigned char*>(text.data()), text.size(),
                          reinterpret_cast<unsigned char*>(mac.data()), &size);
  WEFT_CHECK(made != nullptr && size == 32);
  return mac;
}

// A NumericDate: a number of seconds within the years that can be. Fractions are cut.
bool ReadTime(const json& claims, const char* name, int64_t& out) {
  const auto it = claims.find(name);
  if (it == claims.end() || !it->is_number()) return false;
  constexpr double kMax = 253402300799.0;  // the year 9999
  const double value = it->get<double>();
  if (!(value >= 0 && value <= kMax)) return false;
  out = static_cast<int64_t>(value);
  return true;
}

bool HasAudience(const json& claims, const std::vector<std::string>& audiences) {
  const auto it = claims.find("aud");
  if (it == claims.end()) return false;
  const auto known = [&](const json& one) {
    return one.is_string() && std::find(audiences.begin(), audiences.end(),
                                        one.get_ref<const std::string&>()) != audiences.end();
  };
  if (!it->is_array()) return known(*it);
  return std::any_of(it->begin(), it->end(), known);
}

}  // namespace

absl::Status TokenExpired() {
  return MakeStatus(absl::StatusCode::kUnauthenticated, kTokenExpired);
}
absl::Status TokenInvalid() {
  return MakeStatus(absl::StatusCode::kUnauthenticated, kTokenInvalid);
}
absl::Status TokenWithoutSubject() {
  return MakeStatus(absl::StatusCode::kUnauthenticated, kTokenWithoutSubject);
}

bool LooksLikeToken(std::string_view text) {
  // "eyJ" is base64 of an object's beginning; JWE has five parts and is refused by ParseToken.
  return text.starts_with("eyJ") || std::count(text.begin(), text.end(), '.') == 2;
}

absl::StatusOr<UncheckedToken> ParseToken(std::string_view text) {
  if (text.size() > kMaxTokenBytes)
    return InvalidArgument("has more than {} bytes", kMaxTokenBytes);
  const size_t first = text.find('.');
  const size_t second = first == std::string_view::npos ? first : text.find('.', first + 1);
  if (second == std::string_view::npos || text.find('.', second + 1) != std::string_view::npos) {
    return InvalidArgument("has not three parts");
  }
  const auto header = DecodeObject(text.substr(0, first));
  if (!header.ok()) return InvalidArgument("header: {}", Message(header.status()));
  for (const std::string_view name : kRefused) {
    if (header->contains(name)) return InvalidArgument("header.{}: is not taken", name);
  }
  UncheckedToken token;
  std::string algorithm;
  WEFT_RETURN_IF_ERROR(ReadName(*header, "alg", algorithm));
  WEFT_RETURN_IF_ERROR(ReadName(*header, "kid", token.kid));
  WEFT_RETURN_IF_ERROR(ReadName(*header, "typ", token.type));
  for (char& c : token.type) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  const auto known = ParseJwsAlgorithm(algorithm);
  if (!known) return InvalidArgument("header.alg: is not taken");
  token.algorithm = *known;
  auto signature = Base64UrlDecode(text.substr(second + 1));
  if (!signature || signature->empty()) return InvalidArgument("signature: is not base64url");
  token.signature = *std::move(signature);
  token.signed_text = text.substr(0, second);
  token.payload = text.substr(first + 1, second - first - 1);
  return token;
}

bool VerifyHmac(const UncheckedToken& token, std::string_view secret) {
  if (token.algorithm != JwsAlgorithm::kHs256 || secret.empty()) return false;
  return ConstantTimeEquals(HmacSha256(token.signed_text, secret), token.signature);
}

bool Verify(const UncheckedToken& token, const JwsKey& key) {
  return key.Verify(token.algorithm, token.signed_text, token.signature);
}

absl::StatusOr<json> ParseClaims(const UncheckedToken& token) {
  auto claims = DecodeObject(token.payload);
  if (!claims.ok()) return InvalidArgument("claims: {}", Message(claims.status()));
  return claims;
}

absl::Status CheckClaims(const json& claims, const ClaimRules& rules, WallTime now) {
  const int64_t at = UnixSeconds(now);
  const int64_t skew = rules.skew.count();
  int64_t expires = 0;
  int64_t time = 0;
  if (!ReadTime(claims, "exp", expires)) return TokenInvalid();
  for (const char* name : {"nbf", "iat"}) {
    if (claims.contains(name) && (!ReadTime(claims, name, time) || time > at + skew)) {
      return TokenInvalid();
    }
  }
  if (TextClaim(claims, "iss") != rules.issuer || !HasAudience(claims, rules.audiences)) {
    return TokenInvalid();
  }
  if (expires + skew <= at) return TokenExpired();
  const std::string subject = TextClaim(claims, "sub");
  if (subject.empty() || subject.size() > kMaxNameBytes) return TokenWithoutSubject();
  return absl::OkStatus();
}

std::string SignHmac(const json& claims, std::string_view type, std::string_view secret) {
  const json header = {{"alg", "HS256"}, {"typ", type}};
  std::string token = Base64UrlEncode(header.dump()) + "." +
                      Base64UrlEncode(claims.dump(-1, ' ', false, json::error_handler_t::replace));
  token += "." + Base64UrlEncode(HmacSha256(token, secret));
  return token;
}

std::string TextClaim(const json& claims, std::string_view name) {
  const auto it = claims.find(name);
  return it != claims.end() && it->is_string() ? it->get<std::string>() : std::string();
}

}  // namespace weft::identity
