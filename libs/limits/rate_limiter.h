// How many requests a key may make.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "libs/base/clock.h"

namespace weft::limits {

struct Limit {
  uint32_t requests = 60;
  std::chrono::seconds window{60};
};

struct Decision {
  bool allowed = true;
  uint32_t limit = 0;                        // requests per window
  uint32_t remaining = 0;                    // that would be allowed at once now
  std::chrono::milliseconds reset{0};        // until the whole limit is there again
  std::chrono::milliseconds retry_after{0};  // until one request is; 0 when allowed
};

// Thread safe. An implementation over a shared store may block for its round trip, and by its own
// configuration allows or refuses when the store is away.
class RateLimiter {
 public:
  virtual ~RateLimiter() = default;
  // Counts one request of `key` if it is allowed; a refused request costs nothing.
  virtual Decision Take(std::string_view key, const Limit& limit) = 0;
  // What Take would answer now; counts nothing.
  virtual Decision Peek(std::string_view key, const Limit& limit) = 0;
};

// A token bucket of `requests` tokens that fills over the window, kept as one time per key (the
// generic cell rate algorithm, ITU-T I.371). Exact in one process. At most about `max_keys` are
// kept; a key whose bucket is full is forgotten first, since it is the same as a new one.
std::unique_ptr<RateLimiter> NewLocalRateLimiter(Clock& clock = Clock::Real(),
                                                 size_t max_keys = 1'000'000);

// Header values (draft-ietf-httpapi-ratelimit-headers-09): "default";q=60;w=60 and
// "default";r=12;t=48. `policy` is the name in quotes: letters, digits and '-'.
std::string RateLimitPolicyHeader(const Limit& limit, std::string_view policy = "default");
std::string RateLimitHeader(const Decision& decision, std::string_view policy = "default");
// Whole seconds, rounded up, at least 1.
std::string RetryAfterHeader(std::chrono::milliseconds wait);

}  // namespace weft::limits
