// One kind of limiter after the other, for a test that holds for both.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libs/limits/limiter.h"
#include "libs/limits/redis_limiter.h"
#include "libs/redis/url.h"
#include "tests/support/redis_server.h"

namespace weft::limits {

inline std::unique_ptr<redis::Client> OpenRedis(const testing::RedisServer& server) {
  redis::Options options;
  options.endpoint = redis::ParseUrl(server.unix_url()).value();
  options.timeout = std::chrono::seconds(10);
  options.connect_timeout = std::chrono::seconds(10);
  options.min_retry = std::chrono::milliseconds(5);
  options.max_retry = std::chrono::milliseconds(20);
  return redis::Client::Create(options).value();
}

// Windows of an hour: what a slow machine's test takes of time does not fill them.
inline Charge Rate(std::string key, uint64_t limit, uint64_t cost = 1) {
  return {.key = key, .policy = key, .limit = limit, .window = std::chrono::hours(1), .cost = cost};
}
inline Charge Concurrent(std::string key, uint64_t limit) {
  return {.key = key, .policy = key, .kind = Kind::kConcurrent, .limit = limit};
}
inline Charge Quota(std::string key, uint64_t limit, uint64_t cost) {
  return {.key = key,
          .policy = key,
          .kind = Kind::kQuota,
          .limit = limit,
          .window = std::chrono::hours(24 * 10),
          .cost = cost};
}

inline Verdict Take(Limiter& limiter, const std::vector<Charge>& charges,
                    std::string_view lease = "r") {
  return limiter.Take(charges, lease).value();
}

}  // namespace weft::limits
