// Tokens: parsing, claims, and the checks of a service that is given anything.
#include <nlohmann/json.hpp>

#include "libs/identity/jwt.h"
#include "libs/identity/token_service.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::identity;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const std::string secret(32, 's');
  static weft::FakeClock clock;
  static TokenService service({.secret = secret}, BuiltInRoleBook(), nullptr,
                              NewLocalSeenSet(clock), clock);
  const auto token = ParseToken(text);
  if (token.ok() && VerifyHmac(*token, secret)) __builtin_trap();  // nothing here is signed
  const std::string header = "Bearer " + std::string(text);
  const auto principal = service.Authenticate({.authorization = header});
  if (principal.ok() && *principal != nullptr) __builtin_trap();
  // The input as claims that were signed well.
  const auto claims = nlohmann::json::parse(text, nullptr, false);
  if (claims.is_object()) {
    const std::string good = "Bearer " + SignHmac(claims, "JWT", secret);
    service.Authenticate({.authorization = good}).IgnoreError();
  }
  return 0;
}
