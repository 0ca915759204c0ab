// Limits how often one address may present credentials that are not good.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string_view>
#include <unordered_set>

#include "libs/identity/authenticator.h"
#include "libs/limits/rate_limiter.h"

namespace weft::gateway {

struct AuthGuardOptions {
  uint32_t failures_per_minute = 60;  // of one address (IPv6: of a /64); 0: no limit
  uint32_t addresses = 100'000;       // that are remembered at once
};

// A token bucket of failures for each address. While it is empty, what comes from there is refused
// before the key store is asked, except credentials that were good here lately: neither a neighbour
// behind the same proxy nor anybody at another address can lock out a key that is in use. Such
// credentials are still checked in full.
//
// Thread safe. Memory is bounded: the hashes of at least the last 65,536 good credentials, and
// `addresses` buckets.
class AuthGuard {
 public:
  static constexpr std::string_view kPolicy = "failed-auth";  // in the RateLimit headers

  explicit AuthGuard(const AuthGuardOptions& options, Clock& clock = Clock::Real());

  // A decision that is not allowed: refuse without looking at the credentials.
  std::optional<limits::Decision> Blocked(const identity::Credentials& credentials);
  // Counts a failure; nullopt when there is no limit. Not allowed: others were faster, refuse with
  // 429 and not with 401.
  std::optional<limits::Decision> Failed(const identity::Credentials& credentials);
  void Succeeded(const identity::Credentials& credentials);

  const limits::Limit& limit() const { return limit_; }

 private:
  bool WasGood(const identity::Credentials& credentials);

  const limits::Limit limit_;
  const std::unique_ptr<limits::RateLimiter> failures_;
  std::shared_mutex mutex_;
  // Hashes of credentials; when the first is full it takes the place of the second.
  std::unordered_set<uint64_t> good_;
  std::unordered_set<uint64_t> good_before_;
};

}  // namespace weft::gateway
