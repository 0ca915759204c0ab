// Answers that were given, in this process and, when there is one, in Redis for all.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "libs/base/clock.h"
#include "libs/cache/cache_key.h"
#include "libs/cache/s3fifo.h"
#include "libs/redis/client.h"
#include "libs/redis/subscriber.h"

namespace weft::cache {

struct CacheOptions {
  size_t max_bytes = size_t{512} << 20;      // in this process; 0: Redis alone
  size_t max_value_bytes = size_t{1} << 20;  // of one answer; a larger one is not kept
  std::chrono::milliseconds ttl{3'600'000};
  // Seals what goes to Redis: a value that was not written with this secret is not an answer. The
  // same for all gateways of a Redis.
  std::string secret;
  size_t queue = 1'000;  // values on their way to Redis; beyond, they are dropped
};

// Thread safe. Find blocks for a round trip to Redis where there is one and this process has
// nothing; nothing else blocks but Invalidate.
class ResponseCache {
 public:
  // `redis` may be nullptr, else it outlives the cache; a subscription of its own hears what other
  // gateways invalidate.
  static absl::StatusOr<std::unique_ptr<ResponseCache>> Create(CacheOptions options,
                                                               redis::Client* redis,
                                                               Clock& clock = Clock::Real());
  ~ResponseCache();  // writes what is queued for Redis

  struct Hit {
    std::shared_ptr<const std::string> value;
    std::chrono::milliseconds age{0};
    bool from_redis = false;
  };
  std::optional<Hit> Find(const std::string& key);

  // Marks the time from which on an invalidation forbids Store. Taken before an answer is made.
  uint64_t Epoch() const;
  // Keeps an answer that was begun at `epoch`; false when it is too large or was invalidated since.
  bool Store(const std::string& key, std::string_view value, uint64_t epoch);

  // How many answers went, here and in Redis. UNAVAILABLE when Redis is away: this process's are
  // gone, others' may live until their time is over.
  absl::StatusOr<uint64_t> Invalidate(const KeyPattern& pattern);

  struct Stats {
    size_t bytes = 0;
    size_t entries = 0;
    uint64_t evictions = 0;
    uint64_t dropped = 0;  // values that Redis did not get
    uint64_t refused = 0;  // values of Redis that were damaged or not ours
  };
  Stats stats() const;

 private:
  struct Invalidation {
    uint64_t number;
    KeyPattern pattern;
  };
  struct Write {
    std::string key;
    std::string sealed;
  };

  ResponseCache(CacheOptions options, redis::Client* redis, Clock& clock);
  size_t InvalidateHere(const KeyPattern& pattern);
  std::string Seal(std::string_view key, std::string_view body) const;
  std::optional<std::string_view> Unseal(std::string_view key, std::string_view sealed) const;
  void WriteLoop();

  const CacheOptions options_;
  redis::Client* const redis_;
  Clock& clock_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  S3Fifo local_;
  std::deque<Invalidation> invalidations_;  // the last ones
  uint64_t epoch_ = 0;
  std::deque<Write> writes_;
  uint64_t dropped_ = 0;
  uint64_t refused_ = 0;
  bool stop_ = false;
  std::thread writer_;
  std::unique_ptr<redis::Subscriber> subscriber_;
};

}  // namespace weft::cache
