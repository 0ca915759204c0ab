#include "libs/identity/request_signature.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/identity/api_key.h"
#include "libs/identity/base64url.h"

namespace weft::identity {
namespace {

constexpr std::string_view kScheme = "WEFT-HMAC-SHA256 ";
constexpr size_t kHexDigest = 64;

using Digest = std::array<uint8_t, 32>;

Digest HmacSha256(std::string_view text, std::string_view secret) {
  Digest mac{};
  unsigned int size = 0;
  const auto* made =
      HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
           reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac.data(), &size);
  WEFT_CHECK(made != nullptr && size == mac.size());
  return mac;
}

std::string HexSha256(std::string_view text) {
  Digest digest{};
  unsigned int size = 0;
  WEFT_CHECK(EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) ==
             1);
  return Hex(digest);
}

bool IsHexDigest(std::string_view text) {
  return text.size() == kHexDigest && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool IsWord(std::string_view text, size_t min, size_t max) {
  return text.size() >= min && text.size() <= max &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  c == '-' || c == '_';
         });
}

// Digits alone, as "1700000000": no sign, no space, no leading zero.
bool ReadTimestamp(std::string_view text, int64_t& out) {
  if (text.empty() || text.size() > 12 || text.front() < '1' || text.front() > '9') return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

std::string V2Text(const RequestSignature& s, std::string_view method, std::string_view target) {
  return fmt::format("v2\n{}\n{}\n{}\n{}\n{}\n{}", method, target, s.key_id, s.timestamp, s.nonce,
                     s.body_hash);
}

absl::StatusOr<RequestSignature> ParseV2(std::string_view text) {
  RequestSignature s;
  s.version = 2;
  std::string_view timestamp;
  const std::array<std::pair<std::string_view, std::string_view*>, 5> fields = {
      {{"key=", &s.key_id},
       {"ts=", &timestamp},
       {"nonce=", &s.nonce},
       {"body=", &s.body_hash},
       {"sig=", &s.signature}}};
  for (size_t i = 0; i < fields.size(); ++i) {  // in this order, each once
    const auto& [name, value] = fields[i];
    if (!text.starts_with(name)) return InvalidArgument("{}: is missing", name);
    text.remove_prefix(name.size());
    const bool last = i + 1 == fields.size();
    const size_t end = last ? text.size() : text.find(", ");
    if (end == std::string_view::npos) return InvalidArgument("{}: does not end", name);
    *value = text.substr(0, end);
    text.remove_prefix(last ? end : end + 2);
  }
  if (!IsWord(s.key_id, 1, 64)) return InvalidArgument("key: is no key's id");
  if (!ReadTimestamp(timestamp, s.timestamp)) return InvalidArgument("ts: is no time");
  if (!IsWord(s.nonce, 16, 64)) return InvalidArgument("nonce: must be 16 to 64 characters");
  if (!IsHexDigest(s.body_hash)) return InvalidArgument("body: is no SHA-256");
  if (!IsHexDigest(s.signature)) return InvalidArgument("sig: is no HMAC-SHA-256");
  return s;
}

}  // namespace

absl::StatusOr<std::optional<RequestSignature>> ParseSignature(std::string_view authorization,
                                                               std::string_view key_id,
                                                               std::string_view timestamp,
                                                               std::string_view signature) {
  if (authorization.starts_with(kScheme)) {
    if (!key_id.empty() || !timestamp.empty() || !signature.empty()) {
      return InvalidArgument("the request is signed twice");
    }
    WEFT_ASSIGN_OR_RETURN(RequestSignature s, ParseV2(authorization.substr(kScheme.size())));
    return std::optional<RequestSignature>(s);
  }
  if (signature.empty()) return std::optional<RequestSignature>();
  RequestSignature s;
  s.version = 1;
  s.key_id = key_id;
  s.signature = signature;
  if (!IsWord(s.key_id, 1, 64)) return InvalidArgument("X-Weft-Key-Id: is no key's id");
  if (!ReadTimestamp(timestamp, s.timestamp))
    return InvalidArgument("X-Weft-Timestamp: is no time");
  if (!IsHexDigest(s.signature)) return InvalidArgument("X-Weft-Signature: is no HMAC-SHA-256");
  return std::optional<RequestSignature>(s);
}

bool IsFresh(const RequestSignature& signature, WallTime now) {
  const int64_t age = UnixSeconds(now) - signature.timestamp;
  return age <= kSignatureWindowSeconds && age >= -kSignatureWindowSeconds;
}

bool VerifySignatureV1(const RequestSignature& signature, std::string_view secret,
                       std::string_view body) {
  return signature.version == 1 &&
         ConstantTimeEquals(SignV1(secret, signature.timestamp, body), signature.signature);
}

bool VerifySignatureV2(const RequestSignature& signature, std::string_view secret,
                       std::string_view method, std::string_view target) {
  return signature.version == 2 &&
         ConstantTimeEquals(Hex(HmacSha256(V2Text(signature, method, target), secret)),
                            signature.signature);
}

bool MatchesBody(const RequestSignature& signature, std::string_view body) {
  return ConstantTimeEquals(HexSha256(body), signature.body_hash);
}

std::string SignV1(std::string_view secret, int64_t timestamp, std::string_view body) {
  std::string text = std::to_string(timestamp) + ":";
  text += body;
  return Hex(HmacSha256(text, secret));
}

std::string SignV2Header(std::string_view secret, std::string_view key_id, int64_t timestamp,
                         std::string_view nonce, std::string_view method, std::string_view target,
                         std::string_view body) {
  const std::string hash = HexSha256(body);
  const RequestSignature s{2, key_id, timestamp, nonce, hash, {}};
  return fmt::format("{}key={}, ts={}, nonce={}, body={}, sig={}", kScheme, key_id, timestamp,
                     nonce, hash, Hex(HmacSha256(V2Text(s, method, target), secret)));
}

std::string SigningSecret(std::string_view pepper, std::string_view key_id, std::string_view salt) {
  std::string text = "weft request signing ";
  text.append(key_id).append(" ").append(salt);
  const Digest mac = HmacSha256(text, pepper);
  return "wsig_" + Base64UrlEncode({reinterpret_cast<const char*>(mac.data()), mac.size()});
}

}  // namespace weft::identity
