// Tokens and keys as an attacker sends them.
#include "libs/identity/jwt.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <memory>

#include "libs/base/status.h"
#include "libs/identity/base64url.h"
#include "tests/support/catch.h"
#include "tests/support/jwt_maker.h"

using namespace weft::identity;
using namespace std::chrono_literals;
using nlohmann::json;
using weft::test::JwtMaker;

namespace {

const std::string kSecret = "0123456789abcdef0123456789abcdef";
const std::vector<JwsAlgorithm> kRsa = {JwsAlgorithm::kRs256};

json GoodClaims() {
  return {{"iss", "weft"}, {"aud", "weft"}, {"sub", "alice"}, {"exp", 2'000'000'000}};
}

std::string Part(const json& value) { return Base64UrlEncode(value.dump()); }

std::string Unsigned(const json& header, const json& claims, const std::string& signature) {
  return Part(header) + "." + Part(claims) + "." + signature;
}

JwsKey KeyOf(const json& jwk, const std::vector<JwsAlgorithm>& rsa = kRsa) {
  auto key = JwsKey::FromJwk(jwk, rsa);
  INFO((key.ok() ? "" : std::string(weft::Message(key.status()))));
  REQUIRE(key.ok());
  return *key;
}

bool Good(const std::string& text, const JwsKey& key) {
  const auto token = ParseToken(text);
  return token.ok() && Verify(*token, key);
}

bool GoodHmac(const std::string& text, std::string_view secret) {
  const auto token = ParseToken(text);
  return token.ok() && VerifyHmac(*token, secret);
}

weft::WallTime At(int64_t seconds) { return weft::WallTime(std::chrono::seconds(seconds)); }

}  // namespace

TEST_CASE("base64url has one spelling for each text", "[identity]") {
  for (const std::string& text :
       std::vector<std::string>{"", "a", "ab", "abc", "abcd", std::string("\0\xff\x80", 3)}) {
    CHECK(Base64UrlDecode(Base64UrlEncode(text)) == text);
  }
  CHECK(Base64UrlEncode("\xfb\xff") == "-_8");
  for (const char* bad : {"a", "YQ==", "YR", "YWJ", "a b=", "+/8", "YQ\n", "YQ=", "AAAAA"}) {
    CAPTURE(bad);
    CHECK_FALSE(Base64UrlDecode(bad).has_value());
  }
}

TEST_CASE("An HS256 token is good under its secret and no other", "[identity]") {
  const std::string text = SignHmac(GoodClaims(), "JWT", kSecret);
  CHECK(GoodHmac(text, kSecret));
  CHECK_FALSE(GoodHmac(text, kSecret + "x"));
  CHECK_FALSE(GoodHmac(text, ""));
  const auto token = ParseToken(text);
  REQUIRE(token.ok());
  CHECK(token->type == "jwt");
  CHECK(ParseClaims(*token)->at("sub") == "alice");
  for (size_t i = 0; i < text.size(); ++i) {  // every single character counts
    std::string changed = text;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    CAPTURE(i);
    CHECK_FALSE(GoodHmac(changed, kSecret));
  }
}

// RFC 7515 appendix A.1: a token that others made.
TEST_CASE("The RFC's example of HS256 is verified", "[identity]") {
  const std::string text =
      "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
      "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl"
      "fQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
  const auto secret = Base64UrlDecode(
      "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow");
  REQUIRE(secret);
  CHECK(GoodHmac(text, *secret));
}

// RFC 8037 appendix A.4.
TEST_CASE("The RFC's example of Ed25519 is verified", "[identity]") {
  const JwsKey key = KeyOf(
      {{"kty", "OKP"}, {"crv", "Ed25519"}, {"x", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}});
  CHECK(
      Good("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
           "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
           key));
}

TEST_CASE("Each algorithm's tokens are good under their own key alone", "[identity]") {
  const JwtMaker rsa = JwtMaker::Rsa(2048);
  const JwtMaker other_rsa = JwtMaker::Rsa(2048);
  struct Case {
    const char* name;
    const JwtMaker maker;
  };
  const Case cases[] = {{"RS256", rsa},
                        {"RS384", rsa},
                        {"RS512", rsa},
                        {"PS256", rsa},
                        {"PS384", rsa},
                        {"PS512", rsa},
                        {"ES256", JwtMaker::Elliptic("P-256")},
                        {"ES384", JwtMaker::Elliptic("P-384")},
                        {"ES512", JwtMaker::Elliptic("P-521")},
                        {"EdDSA", JwtMaker::Ed25519()}};
  for (const Case& one : cases) {
    CAPTURE(one.name);
    json jwk = one.maker.Jwk();
    jwk["alg"] = one.name;
    const JwsKey key = KeyOf(jwk);
    const std::string text = one.maker.Sign({{"alg", one.name}}, GoodClaims());
    CHECK(Good(text, key));
    std::string changed = text;
    changed[changed.find('.') + 5] ^= 1;
    CHECK_FALSE(Good(changed, key));
    for (const Case& other : cases) {
      if (&other == &one) continue;
      // The key says one algorithm: another one of the same key is not taken either.
      const std::string foreign = other.maker.Sign({{"alg", other.name}}, GoodClaims());
      CHECK_FALSE(Good(foreign, key));
      CHECK_FALSE(Good(other.maker.Sign({{"alg", other.name}}, GoodClaims(), one.name), key));
    }
  }
  json jwk = rsa.Jwk();
  jwk["alg"] = "RS256";
  CHECK_FALSE(Good(other_rsa.Sign({{"alg", "RS256"}}, GoodClaims()), KeyOf(jwk)));
}

TEST_CASE("A public key is no HMAC secret, whatever the token says", "[identity]") {
  const JwtMaker rsa = JwtMaker::Rsa(2048);
  const JwsKey key = KeyOf(rsa.Jwk());
  for (const std::string& secret :
       {rsa.Pem(), rsa.Jwk().dump(), rsa.Jwk()["n"].get<std::string>()}) {
    const std::string forged = SignHmac(GoodClaims(), "JWT", secret);
    CHECK_FALSE(Good(forged, key));
  }
  CHECK_FALSE(key.Takes(JwsAlgorithm::kHs256));
  json symmetric = {{"kty", "oct"}, {"k", Base64UrlEncode(kSecret)}, {"alg", "HS256"}};
  CHECK_FALSE(JwsKey::FromJwk(symmetric, kRsa).ok());
  json pinned = rsa.Jwk();
  pinned["alg"] = "HS256";
  CHECK_FALSE(JwsKey::FromJwk(pinned, kRsa).ok());
  CHECK_FALSE(JwsKey::FromJwk(rsa.Jwk(), {JwsAlgorithm::kHs256}).ok());
}

TEST_CASE("Tokens without a signature are no tokens", "[identity]") {
  for (const char* name : {"none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS512", "HS1"}) {
    CAPTURE(name);
    for (const std::string signature : {"", "AA", "x"}) {
      CHECK_FALSE(ParseToken(Unsigned({{"alg", name}}, GoodClaims(), signature)).ok());
    }
  }
  CHECK_FALSE(ParseToken(Unsigned({{"typ", "JWT"}}, GoodClaims(), "AAAA")).ok());
  CHECK_FALSE(ParseToken(Unsigned({{"alg", 1}}, GoodClaims(), "AAAA")).ok());
  CHECK_FALSE(ParseToken(Unsigned({{"alg", {"HS256"}}}, GoodClaims(), "AAAA")).ok());
  CHECK_FALSE(ParseToken(Unsigned({{"alg", nullptr}}, GoodClaims(), "AAAA")).ok());
  CHECK_FALSE(ParseToken(Unsigned({{"alg", "HS256"}}, GoodClaims(), "")).ok());
}

TEST_CASE("A key never comes out of a token, and what is not known is not taken", "[identity]") {
  const JwtMaker attacker = JwtMaker::Rsa(2048);
  const JwsKey key = KeyOf(JwtMaker::Rsa(2048).Jwk());
  const json members = {{"jwk", attacker.Jwk()},
                        {"jku", "https://attacker.example/keys"},
                        {"x5u", "https://attacker.example/chain.pem"},
                        {"x5c", {"MIIB"}},
                        {"crit", {"exp"}},
                        {"b64", false},
                        {"zip", "DEF"},
                        {"enc", "A256GCM"}};
  for (const auto& [name, value] : members.items()) {
    CAPTURE(name);
    json header = {{"alg", "RS256"}};
    header[name] = value;
    const std::string text = attacker.Sign(header, GoodClaims());
    CHECK_FALSE(ParseToken(text).ok());
    CHECK_FALSE(Good(text, key));
  }
}

TEST_CASE("A kid is a name and nothing else", "[identity]") {
  for (const std::string& kid :
       std::vector<std::string>{"../../../../dev/null", "x' UNION SELECT 'key", "| id",
                                "http://attacker.example/", std::string("a\0b", 3)}) {
    const std::string text =
        Unsigned({{"alg", "HS256"}, {"kid", kid}}, GoodClaims(), Base64UrlEncode(kSecret));
    const auto token = ParseToken(text);
    REQUIRE(token.ok());
    CHECK(token->kid == kid);
    CHECK_FALSE(VerifyHmac(*token, kSecret));
    CHECK_FALSE(VerifyHmac(*token, ""));
  }
  const json header = {{"alg", "HS256"}, {"kid", std::string(300, 'k')}};
  CHECK_FALSE(ParseToken(Unsigned(header, GoodClaims(), "AAAA")).ok());
  CHECK_FALSE(
      ParseToken(Unsigned({{"alg", "HS256"}, {"kid", {{"a", 1}}}}, GoodClaims(), "AAAA")).ok());
}

TEST_CASE("Badly formed tokens are refused", "[identity]") {
  const std::string good = SignHmac(GoodClaims(), "JWT", kSecret);
  const size_t first = good.find('.');
  const size_t second = good.find('.', first + 1);
  const std::string header = good.substr(0, first);
  const std::string claims = good.substr(first + 1, second - first - 1);
  const std::string signature = good.substr(second + 1);
  const auto raw = [](std::string_view text) { return Base64UrlEncode(text); };
  for (const std::string& bad : std::vector<std::string>{
           "",
           ".",
           "..",
           "...",
           "a.b.c",
           header,
           header + "." + claims,
           good + ".",
           "." + good,
           good + "=",
           good + "\n",
           " " + good,
           header + "=." + claims + "." + signature,
           header + "." + claims + "." + signature + "A",  // bits that are not there
           header + ".." + claims + "." + signature,
           good + ".a.b",  // five parts: encrypted
           raw("[]") + "." + claims + "." + signature,
           raw("null") + "." + claims + "." + signature,
           raw(R"({"alg":"none","alg":"HS256"})") + "." + claims + "." + signature,
           raw("{\"alg\":\"HS256\"") + "." + claims + "." + signature,
           raw("\xef\xbb\xbf{\"alg\":\"HS256\"}") + "." + claims + "." + signature,
           raw("{\"alg\":\"HS256\",\"x\":\"\xff\"}") + "." + claims + "." + signature,
           raw(R"({"alg":"HS256","x":)" + std::string(50, '[') + std::string(50, ']') + "}") + "." +
               claims + "." + signature,
           std::string(kMaxTokenBytes + 1, 'a'),
           std::string(1000, '.')}) {
    CAPTURE(bad.substr(0, 80));
    CHECK_FALSE(GoodHmac(bad, kSecret));
  }
  // The last character of a 32-byte signature has two bits to spare: only zeros are taken.
  int spellings = 0;
  for (const char c :
       std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")) {
    std::string changed = good;
    changed.back() = c;
    spellings += GoodHmac(changed, kSecret) ? 1 : 0;
  }
  CHECK(spellings == 1);
}

TEST_CASE("Claims are read once, strictly", "[identity]") {
  const auto claims_of = [](std::string_view text) {
    UncheckedToken token;
    const std::string part = Base64UrlEncode(text);
    token.payload = part;
    return ParseClaims(token).ok();
  };
  CHECK(claims_of(R"({"sub":"a"})"));
  CHECK_FALSE(claims_of(R"({"sub":"a","sub":"admin"})"));
  CHECK_FALSE(claims_of(R"({"sub":"a"} )" + std::string("x")));
  CHECK_FALSE(claims_of("[1]"));
  CHECK_FALSE(claims_of(R"({"a":)" + std::string(20, '[') + std::string(20, ']') + "}"));
  CHECK_FALSE(claims_of(""));
}

TEST_CASE("Claims are checked in time, issuer, audience and subject", "[identity]") {
  const ClaimRules rules{"weft", {"weft", "other"}, 60s};
  const auto check = [&](const json& change, int64_t now) {
    json claims = GoodClaims();
    claims["exp"] = 1000;
    for (const auto& [name, value] : change.items()) {
      if (value.is_null()) {
        claims.erase(name);
      } else {
        claims[name] = value;
      }
    }
    return std::string(weft::Message(CheckClaims(claims, rules, At(now))));
  };
  const std::string expired(kTokenExpired);
  const std::string invalid(kTokenInvalid);
  const std::string no_subject(kTokenWithoutSubject);
  CHECK(expired == "Token has expired");
  CHECK(invalid == "Could not validate credentials");
  CHECK(no_subject == "Invalid authentication credentials");

  const json none = json::object();
  CHECK(check(none, 900).empty());
  CHECK(check(none, 1059).empty());
  CHECK(check(none, 1060) == expired);
  CHECK(check({{"exp", nullptr}}, 900) == invalid);
  for (const json& exp : {json("1000"), json(-1), json(1e300), json(true), json::array({1000})}) {
    CHECK(check({{"exp", exp}}, 900) == invalid);
  }
  CHECK(check({{"exp", 1000.7}}, 900).empty());
  CHECK(check({{"nbf", 960}}, 900).empty());
  CHECK(check({{"nbf", 961}}, 900) == invalid);
  CHECK(check({{"nbf", "0"}}, 900) == invalid);
  CHECK(check({{"iat", 961}}, 900) == invalid);
  CHECK(check({{"iat", 100}}, 900).empty());
  CHECK(check({{"iss", "Weft"}}, 900) == invalid);
  CHECK(check({{"iss", nullptr}}, 900) == invalid);
  CHECK(check({{"iss", {"weft"}}}, 900) == invalid);
  CHECK(check({{"aud", "weft "}}, 900) == invalid);
  CHECK(check({{"aud", nullptr}}, 900) == invalid);
  CHECK(check({{"aud", json::array()}}, 900) == invalid);
  CHECK(check({{"aud", {"x", "other"}}}, 900).empty());
  CHECK(check({{"aud", {{"weft", 1}}}}, 900) == invalid);
  CHECK(check({{"sub", nullptr}}, 900) == no_subject);
  CHECK(check({{"sub", ""}}, 900) == no_subject);
  CHECK(check({{"sub", 7}}, 900) == no_subject);
  CHECK(check({{"sub", std::string(300, 's')}}, 900) == no_subject);
  // An old token of somebody else is not told apart from a good one.
  CHECK(check({{"iss", "x"}}, 5000) == invalid);
}

TEST_CASE("ECDSA signatures of zeros, of the wrong size and in DER are refused", "[identity]") {
  const JwtMaker maker = JwtMaker::Elliptic("P-256");
  const JwsKey key = KeyOf(maker.Jwk());
  const std::string good = maker.Sign({{"alg", "ES256"}}, GoodClaims());
  REQUIRE(Good(good, key));
  const std::string text = good.substr(0, good.rfind('.') + 1);
  const std::string signature = *Base64UrlDecode(good.substr(text.size()));
  const std::string zeros(32, '\0');
  std::string order;  // of P-256's group: as a number it is 0
  for (const char* byte =
           "\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6"
           "\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51";
       order.size() < 32; ++byte) {
    order.push_back(*byte);
  }
  for (const std::string& bad : std::vector<std::string>{
           zeros + zeros, zeros + signature.substr(32), signature.substr(0, 32) + zeros,
           order + order, order + signature.substr(32), signature.substr(0, 32) + order,
           signature.substr(1), signature + '\0', '\0' + signature, signature + signature,
           std::string(64, '\xff'), std::string(1, '\0'),
           maker.DerSignature(text.substr(0, text.size() - 1)),
           zeros + signature.substr(0, 32) + zeros + signature.substr(32)}) {
    CHECK_FALSE(Good(text + Base64UrlEncode(bad), key));
  }
  // (r, n - s) is as good a signature of the same text as (r, s): nothing may be keyed by it.
  // Tokens are revoked by "jti".
  const std::string mirrored = signature.substr(0, 32) + maker.NegatedS(signature.substr(32));
  CHECK(Good(text + Base64UrlEncode(mirrored), key));
}

TEST_CASE("RSA signatures of the wrong size or of no message are refused", "[identity]") {
  const JwtMaker maker = JwtMaker::Rsa(2048);
  const JwsKey key = KeyOf(maker.Jwk());
  const std::string good = maker.Sign({{"alg", "RS256"}}, GoodClaims());
  REQUIRE(Good(good, key));
  const std::string text = good.substr(0, good.rfind('.') + 1);
  const std::string signature = *Base64UrlDecode(good.substr(text.size()));
  for (const std::string& bad : std::vector<std::string>{
           std::string(256, '\0'), std::string(255, '\0') + '\1', std::string(256, '\xff'),
           '\0' + signature, signature + '\0', signature.substr(1), std::string(1, '\1')}) {
    CHECK_FALSE(Good(text + Base64UrlEncode(bad), key));
  }
}

TEST_CASE("Keys that make forging easy, or checking slow, are refused", "[identity]") {
  const auto problem = [](json jwk, const json& change) {
    for (const auto& [name, value] : change.items()) {
      if (value.is_null()) {
        jwk.erase(name);
      } else {
        jwk[name] = value;
      }
    }
    const auto key = JwsKey::FromJwk(jwk, kRsa);
    return key.ok() ? std::string() : std::string(weft::Message(key.status()));
  };
  const json rsa = JwtMaker::Rsa(2048).Jwk();
  CHECK(problem(rsa, {{"alg", "RS256"}}).empty());
  const auto number = [](std::string_view bytes) { return Base64UrlEncode(bytes); };
  for (const std::string& e :
       {number("\x01"), number("\x03"), number("\x11"), number(std::string("\x01\x00\x00", 3)),
        number(std::string("\x00", 1)), number(std::string(9, '\x7f')), std::string(),
        std::string("AQAB=")}) {
    CAPTURE(e);
    CHECK_FALSE(problem(rsa, {{"e", e}}).empty());
  }
  CHECK_FALSE(problem(JwtMaker::Rsa(1024).Jwk(), json::object()).empty());
  CHECK_FALSE(problem(rsa, {{"n", Base64UrlEncode(std::string(2048, '\x7f'))}}).empty());  // huge
  CHECK_FALSE(problem(rsa, {{"n", Base64UrlEncode(std::string(255, '\x7f') + '\x7e')}}).empty());
  CHECK_FALSE(problem(rsa, {{"n", nullptr}}).empty());
  CHECK_FALSE(problem(rsa, {{"d", "AQAB"}}).empty());
  CHECK_FALSE(problem(rsa, {{"use", "enc"}}).empty());
  CHECK(problem(rsa, {{"use", "sig"}}).empty());
  CHECK_FALSE(problem(rsa, {{"key_ops", {"sign"}}}).empty());
  CHECK(problem(rsa, {{"key_ops", {"verify"}}}).empty());
  for (const char* name : {"ES256", "HS256", "none", "RSA1_5", "rs256"}) {
    CHECK_FALSE(problem(rsa, {{"alg", name}}).empty());
  }
  CHECK_FALSE(JwsKey::FromJwk(rsa, {}).ok());  // no algorithm is pinned to it

  const json point = JwtMaker::Elliptic("P-256").Jwk();
  CHECK(problem(point, json::object()).empty());
  const std::string other = JwtMaker::Elliptic("P-256").Jwk()["y"];
  CHECK_FALSE(problem(point, {{"y", other}}).empty());  // not on the curve
  CHECK_FALSE(problem(point, {{"crv", "P-384"}}).empty());
  CHECK_FALSE(problem(point, {{"crv", "secp256k1"}}).empty());
  CHECK_FALSE(problem(point, {{"alg", "ES384"}}).empty());
  const std::string zero = Base64UrlEncode(std::string(32, '\0'));
  CHECK_FALSE(problem(point, {{"x", zero}, {"y", zero}}).empty());
  CHECK_FALSE(problem(point, {{"x", Base64UrlEncode(std::string(33, '\1'))}}).empty());

  const json edwards = JwtMaker::Ed25519().Jwk();
  CHECK(problem(edwards, json::object()).empty());
  CHECK_FALSE(problem(edwards, {{"crv", "X25519"}}).empty());
  CHECK_FALSE(problem(edwards, {{"x", "AAAA"}}).empty());
  for (const json& no_key : {json("x"), json::array(), json(nullptr), json::object()}) {
    CHECK_FALSE(JwsKey::FromJwk(no_key, kRsa).ok());
  }
}

TEST_CASE("A key set gives its sound keys, each under a kid of its own", "[identity]") {
  const json first = JwtMaker::Elliptic("P-256").Jwk("a");
  const json second = JwtMaker::Ed25519().Jwk("b");
  const json twin = JwtMaker::Ed25519().Jwk("b");
  const json unsound = {{"kty", "oct"}, {"k", "AAAA"}, {"kid", "c"}};
  const auto count = [](const json& set) {
    const auto keys = ParseJwkSet(set.dump(), kRsa);
    return keys.ok() ? static_cast<int>(keys->size()) : -1;
  };
  CHECK(count({{"keys", {first, second, unsound}}}) == 2);
  CHECK(count({{"keys", {first, second, twin}}}) == 1);
  CHECK(count({{"keys", json::array()}}) == 0);
  CHECK(count({{"keys", 1}}) == -1);
  CHECK(count(json::array()) == -1);
  CHECK(count({{"keys", json(std::vector<json>(65, unsound))}}) == -1);
  CHECK_FALSE(ParseJwkSet(std::string(300 << 10, ' '), kRsa).ok());
  CHECK_FALSE(ParseJwkSet("{\"keys\":[],\"keys\":[]}", kRsa).ok());
}
