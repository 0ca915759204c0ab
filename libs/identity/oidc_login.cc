#include "libs/identity/oidc_login.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/identity/api_key.h"
#include "libs/identity/base64url.h"
#include "libs/identity/sealed_text.h"
#include "libs/json/strict_json.h"
#include "libs/telemetry/log.h"

namespace weft::identity {
namespace {

using nlohmann::json;

const telemetry::Logger kLog("identity.oidc");

std::string RandomText(size_t bytes) {
  std::vector<uint8_t> raw(bytes);
  RandomBytes(raw);
  return Base64UrlEncode({reinterpret_cast<const char*>(raw.data()), raw.size()});
}

std::string Sha256(std::string_view text) {
  std::string digest(32, '\0');
  unsigned int size = 0;
  WEFT_CHECK(EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(digest.data()),
                        &size, EVP_sha256(), nullptr) == 1);
  return digest;
}

}  // namespace

bool IsLocalPath(std::string_view path) {
  if (path.empty() || path.front() != '/' || path.size() > 1024) return false;
  if (path.size() > 1 && (path[1] == '/' || path[1] == '\\')) return false;
  return std::all_of(path.begin(), path.end(), [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) < 0x7f &&
           c != '\\';
  });
}

OidcLogin::OidcLogin(std::vector<std::shared_ptr<OidcProvider>> providers, std::string key,
                     Clock& clock)
    : key_(std::move(key)), clock_(clock) {
  for (auto& provider : providers) {
    if (!provider->options().client_id.empty()) providers_.push_back(std::move(provider));
  }
}

OidcProvider* OidcLogin::Find(std::string_view name) const {
  for (const auto& provider : providers_) {
    if (name.empty() || provider->options().name == name) return provider.get();
  }
  return nullptr;
}

absl::StatusOr<OidcLogin::Start> OidcLogin::Begin(std::string_view name,
                                                  std::string_view return_to) {
  OidcProvider* provider = Find(name);
  if (provider == nullptr) return NotFound("There is no such identity provider.");
  if (return_to.empty()) return_to = "/";
  if (!IsLocalPath(return_to)) {
    return InvalidArgument("return_to: must be a path of this server, such as /docs");
  }
  WEFT_ASSIGN_OR_RETURN(const OidcEndpoints endpoints, provider->endpoints());
  const OidcOptions& options = provider->options();
  const std::string state = RandomText(16);
  const std::string nonce = RandomText(16);
  const std::string verifier = RandomText(32);
  const json kept = {{"p", options.name},
                     {"s", state},
                     {"n", nonce},
                     {"v", verifier},
                     {"r", std::string(return_to)},
                     {"e", UnixSeconds(clock_.Wall()) + kLifetime.count()}};
  const std::string query =
      FormEncode({{"response_type", "code"},
                  {"client_id", options.client_id},
                  {"redirect_uri", options.redirect_uri},
                  {"scope", fmt::format("{}", fmt::join(options.scopes, " "))},
                  {"state", state},
                  {"nonce", nonce},
                  {"code_challenge", Base64UrlEncode(Sha256(verifier))},
                  {"code_challenge_method", "S256"}});
  const char separator = endpoints.authorization.find('?') == std::string::npos ? '?' : '&';
  return Start{endpoints.authorization + separator + query, SealText(kept.dump(), key_)};
}

absl::StatusOr<OidcLogin::End> OidcLogin::Finish(std::string_view cookie, std::string_view state,
                                                 std::string_view code, std::string_view issuer) {
  const auto text = OpenText(cookie, key_);
  if (!text) return TokenInvalid();
  const json kept = json::parse(*text, nullptr, false);
  if (kept.is_discarded() || kept.value("e", int64_t{0}) < UnixSeconds(clock_.Wall()) ||
      !ConstantTimeEquals(TextClaim(kept, "s"), state) || code.empty() || code.size() > 4096) {
    return TokenInvalid();
  }
  OidcProvider* provider = Find(TextClaim(kept, "p"));
  if (provider == nullptr) return TokenInvalid();
  const OidcOptions& options = provider->options();
  // RFC 9207: an answer of another provider than the one that was asked.
  if (!issuer.empty() && issuer != options.issuer) return TokenInvalid();
  WEFT_ASSIGN_OR_RETURN(const OidcEndpoints endpoints, provider->endpoints());
  FetchRequest request{.url = endpoints.token,
                       .form = {{"grant_type", "authorization_code"},
                                {"code", std::string(code)},
                                {"redirect_uri", options.redirect_uri},
                                {"client_id", options.client_id},
                                {"code_verifier", TextClaim(kept, "v")}}};
  if (!options.client_secret.empty()) {
    request.user = FormEncode({{options.client_id, ""}});
    request.user.pop_back();  // RFC 6749 section 2.3.1: both are form-encoded first
    request.password = FormEncode({{options.client_secret, ""}});
    request.password.pop_back();
  }
  WEFT_ASSIGN_OR_RETURN(const FetchAnswer answer, provider->fetcher().Fetch(request));
  const auto refused = [&](std::string_view why) {
    kLog.Warning("a sign-in was refused", {{"issuer", options.name}, {"why", why}});
    return TokenInvalid();
  };
  if (answer.status != 200) return refused("the token endpoint refused the code");
  const auto tokens = ParseStrictJson(answer.body, {.depth = 8, .values = 1000});
  if (!tokens.ok() || !tokens->is_object()) return refused("the token endpoint gave no JSON");
  const std::string id_token = TextClaim(*tokens, "id_token");
  const auto parsed = ParseToken(id_token);
  if (!parsed.ok()) return refused(Message(parsed.status()));
  WEFT_ASSIGN_OR_RETURN(const auto claims, provider->Verify(*parsed, {options.client_id}));
  if (!claims) return refused("the id token's key is not known");
  if (!ConstantTimeEquals(TextClaim(*claims, "nonce"), TextClaim(kept, "n"))) {
    return refused("the id token has another nonce");
  }
  if (claims->contains("azp") && TextClaim(*claims, "azp") != options.client_id) {
    return refused("the id token is for another client");
  }
  WEFT_ASSIGN_OR_RETURN(User user, provider->UserOf(*claims));
  return End{std::move(user), "oidc:" + options.name, TextClaim(kept, "r")};
}

}  // namespace weft::identity
