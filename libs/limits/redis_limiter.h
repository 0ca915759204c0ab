// The same limits for all gateways of a Redis.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "libs/limits/limiter.h"
#include "libs/redis/client.h"

namespace weft::limits {

struct RedisLimiterOptions {
  // Before every key. The braces keep all keys in one slot of a Redis cluster: a script needs that.
  std::string prefix = "weft:{limits}:";
  // How long a concurrent request counts after its gateway was last heard of. Renew must be called
  // at least three times as often.
  std::chrono::milliseconds lease_time{30'000};
};

// Each Take is one script in one round trip, by Redis' own clock: exact for any number of gateways.
// What a Redis that lost its data forgets: rates begin full, quotas are seeded again, and what runs
// comes back with the next Renew. `client` must outlive it.
std::unique_ptr<Limiter> NewRedisLimiter(redis::Client& client, QuotaSeed seed = nullptr,
                                         RedisLimiterOptions options = {});

}  // namespace weft::limits
