#include "services/gateway/auth_guard.h"

#include <functional>
#include <mutex>
#include <utility>

#include "libs/identity/cookie.h"
#include "libs/limits/address_key.h"

namespace weft::gateway {
namespace {

constexpr size_t kGenerationEntries = 65'536;

// What is the same in all requests of one signer: nonce, time and signature are not.
std::string_view Constant(std::string_view authorization) {
  return authorization.substr(0, authorization.find(", ts="));
}

// Two credentials of one hash only mean that one of them is checked although its address is
// blocked.
uint64_t HashOf(const identity::Credentials& credentials) {
  const std::hash<std::string_view> hash;
  uint64_t out = 0;
  const auto mix = [&](std::string_view text) { out = out * 0x9e3779b97f4a7c15u + hash(text); };
  mix(Constant(credentials.authorization));
  mix(credentials.api_key);
  mix(identity::FindCookie(credentials.cookie, identity::kSessionCookie).value_or(""));
  mix(credentials.signing_key_id);
  for (const std::string& name : credentials.certificate_names) mix(name);
  return out;
}

}  // namespace

AuthGuard::AuthGuard(const AuthGuardOptions& options, Clock& clock)
    : limit_{.requests = options.failures_per_minute},
      failures_(limits::NewLocalRateLimiter(clock, options.addresses)) {}

std::optional<limits::Decision> AuthGuard::Blocked(const identity::Credentials& credentials) {
  if (limit_.requests == 0) return std::nullopt;
  const auto decision = failures_->Peek(limits::AddressKey(credentials.remote_address), limit_);
  if (decision.allowed || WasGood(credentials)) return std::nullopt;
  return decision;
}

std::optional<limits::Decision> AuthGuard::Failed(const identity::Credentials& credentials) {
  if (limit_.requests == 0) return std::nullopt;
  if (WasGood(credentials)) {  // until it was revoked or expired
    std::unique_lock lock(mutex_);
    good_.erase(HashOf(credentials));
    good_before_.erase(HashOf(credentials));
  }
  return failures_->Take(limits::AddressKey(credentials.remote_address), limit_);
}

void AuthGuard::Succeeded(const identity::Credentials& credentials) {
  if (limit_.requests == 0) return;
  const uint64_t hash = HashOf(credentials);
  {
    std::shared_lock lock(mutex_);
    if (good_.contains(hash)) return;
  }
  std::unique_lock lock(mutex_);
  if (good_.size() >= kGenerationEntries) good_before_ = std::exchange(good_, {});
  good_.insert(hash);
}

bool AuthGuard::WasGood(const identity::Credentials& credentials) {
  const uint64_t hash = HashOf(credentials);
  std::shared_lock lock(mutex_);
  return good_.contains(hash) || good_before_.contains(hash);
}

}  // namespace weft::gateway
