#include "services/gateway/auth_guard.h"

#include <functional>
#include <mutex>
#include <utility>

#include "libs/limits/address_key.h"

namespace weft::gateway {
namespace {

constexpr size_t kGenerationEntries = 65'536;

// Two credentials of one hash only mean that one of them is checked although its address is
// blocked.
uint64_t HashOf(const identity::Credentials& credentials) {
  const std::hash<std::string_view> hash;
  return hash(credentials.authorization) * 0x9e3779b97f4a7c15u ^ hash(credentials.api_key);
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
