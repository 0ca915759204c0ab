#include "libs/limits/rate_limiter.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <mutex>
#include <unordered_map>

namespace weft::limits {
namespace {

using std::chrono::nanoseconds;

std::chrono::milliseconds CeilMillis(nanoseconds d) {
  return std::chrono::ceil<std::chrono::milliseconds>(std::max(d, nanoseconds::zero()));
}

class LocalRateLimiter final : public RateLimiter {
 public:
  LocalRateLimiter(Clock& clock, size_t max_keys)
      : clock_(clock), max_keys_per_shard_(std::max<size_t>(max_keys / kShards, 1)) {}

  Decision Take(std::string_view key, const Limit& limit) override {
    const SteadyTime now = clock_.Now();
    const nanoseconds window = limit.window;
    // One request's share of the window. Rounded up: never more requests than the limit says.
    const nanoseconds cost((window.count() + limit.requests - 1) / std::max(limit.requests, 1u));
    Shard& shard = shards_[std::hash<std::string_view>()(key) % kShards];
    std::lock_guard lock(shard.mutex);
    const std::string name(key);
    auto it = shard.full_at.find(name);
    if (it == shard.full_at.end()) {
      if (shard.full_at.size() >= max_keys_per_shard_) MakeRoom(shard, now);
      it = shard.full_at.emplace(name, now).first;
    }
    SteadyTime& full_at = it->second;
    // A limit that was lowered must not leave a debt longer than its window.
    const SteadyTime begin = std::clamp(full_at, now, now + cost * limit.requests);
    Decision decision;
    decision.limit = limit.requests;
    decision.allowed = limit.requests > 0 && begin + cost - now <= cost * limit.requests;
    if (decision.allowed) {
      full_at = begin + cost;
    } else {
      decision.retry_after = CeilMillis(begin + cost - now - cost * limit.requests);
    }
    const nanoseconds used = (decision.allowed ? full_at : begin) - now;
    const int64_t left = (cost * limit.requests - used).count() / cost.count();
    decision.remaining = static_cast<uint32_t>(std::clamp<int64_t>(left, 0, limit.requests));
    decision.reset = CeilMillis(used);
    return decision;
  }

 private:
  static constexpr size_t kShards = 16;
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, SteadyTime> full_at;  // when the bucket is full again
  };

  void MakeRoom(Shard& shard, SteadyTime now) {
    std::erase_if(shard.full_at, [&](const auto& entry) { return entry.second <= now; });
    if (shard.full_at.size() >= max_keys_per_shard_) shard.full_at.erase(shard.full_at.begin());
  }

  Clock& clock_;
  const size_t max_keys_per_shard_;
  std::array<Shard, kShards> shards_;
};

int64_t CeilSeconds(std::chrono::milliseconds d) {
  return std::chrono::ceil<std::chrono::seconds>(d).count();
}

}  // namespace

std::unique_ptr<RateLimiter> NewLocalRateLimiter(Clock& clock, size_t max_keys) {
  return std::make_unique<LocalRateLimiter>(clock, max_keys);
}

std::string RateLimitPolicyHeader(const Limit& limit) {
  return fmt::format("\"default\";q={};w={}", limit.requests, limit.window.count());
}

std::string RateLimitHeader(const Decision& decision) {
  return fmt::format("\"default\";r={};t={}", decision.remaining, CeilSeconds(decision.reset));
}

std::string RetryAfterHeader(std::chrono::milliseconds wait) {
  return std::to_string(std::max<int64_t>(1, CeilSeconds(wait)));
}

}  // namespace weft::limits
