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
    Shard& shard = ShardOf(key);
    std::lock_guard lock(shard.mutex);
    const std::string name(key);
    auto it = shard.full_at.find(name);
    const State state(it == shard.full_at.end() ? now : it->second, now, limit);
    if (!state.allowed) return state.AsDecision();
    if (it == shard.full_at.end()) {
      if (shard.full_at.size() >= max_keys_per_shard_) MakeRoom(shard, now);
      it = shard.full_at.emplace(name, now).first;
    }
    it->second = state.begin + state.cost;
    return state.AsDecision();
  }

  Decision Peek(std::string_view key, const Limit& limit) override {
    const SteadyTime now = clock_.Now();
    Shard& shard = ShardOf(key);
    std::lock_guard lock(shard.mutex);
    const auto it = shard.full_at.find(std::string(key));
    return State(it == shard.full_at.end() ? now : it->second, now, limit).AsDecision();
  }

 private:
  static constexpr size_t kShards = 16;
  // Looking for full buckets costs a pass over the shard: not for every new key of a flood.
  static constexpr std::chrono::seconds kSweepInterval{1};
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, SteadyTime> full_at;  // when the bucket is full again
    SteadyTime next_sweep{};
  };

  // One bucket as it stands at `now`, before the request that asks.
  struct State {
    State(SteadyTime full_at, SteadyTime at, const Limit& limit)
        : requests(limit.requests),
          // One request's share of the window. Rounded up: never more requests than the limit says.
          cost((nanoseconds(limit.window).count() + requests - 1) / std::max(requests, 1u)),
          now(at),
          // A limit that was lowered must not leave a debt longer than its window.
          begin(std::clamp(full_at, now, now + cost * requests)),
          allowed(requests > 0 && begin + cost - now <= cost * requests) {}

    Decision AsDecision() const {
      Decision decision;
      decision.limit = requests;
      decision.allowed = allowed;
      if (!allowed) decision.retry_after = CeilMillis(begin + cost - now - cost * requests);
      const nanoseconds used = (allowed ? begin + cost : begin) - now;
      const int64_t left = (cost * requests - used).count() / cost.count();
      decision.remaining = static_cast<uint32_t>(std::clamp<int64_t>(left, 0, requests));
      decision.reset = CeilMillis(used);
      return decision;
    }

    uint32_t requests;
    nanoseconds cost;
    SteadyTime now;
    SteadyTime begin;
    bool allowed;
  };

  Shard& ShardOf(std::string_view key) {
    return shards_[std::hash<std::string_view>()(key) % kShards];
  }

  void MakeRoom(Shard& shard, SteadyTime now) {
    if (now >= shard.next_sweep) {
      shard.next_sweep = now + kSweepInterval;
      std::erase_if(shard.full_at, [&](const auto& entry) { return entry.second <= now; });
    }
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

std::string RateLimitPolicyHeader(const Limit& limit, std::string_view policy) {
  return fmt::format("\"{}\";q={};w={}", policy, limit.requests, limit.window.count());
}

std::string RateLimitHeader(const Decision& decision, std::string_view policy) {
  return fmt::format("\"{}\";r={};t={}", policy, decision.remaining, CeilSeconds(decision.reset));
}

std::string RetryAfterHeader(std::chrono::milliseconds wait) {
  return std::to_string(std::max<int64_t>(1, CeilSeconds(wait)));
}

}  // namespace weft::limits
