#include "libs/limits/redis_limiter.h"

#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "libs/base/status.h"

namespace weft::limits {
namespace {

using std::chrono::milliseconds;
using Outcome = Standing::Outcome;

// Times are microseconds since 2023-11-14, so that a double holds them to a hundredth. Per charge
// five arguments: kind (r, c, q), limit, burst or quota seed (-1: unknown), window in us, cost.
// Answers whether all passed, and per charge outcome (0 to 2 as Standing's, 3: needs a seed),
// remaining, reset in ms, retry in ms.
constexpr std::string_view kTake = R"lua(
local t = redis.call('TIME')
local now = (t[1] - 1700000000) * 1000000 + t[2]
local lease, lease_us = ARGV[1], tonumber(ARGV[2])
local all, out, after = 1, {1}, {}
for i, key in ipairs(KEYS) do
  local a = 3 + (i - 1) * 5
  local kind, limit, extra = ARGV[a], tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local window, cost = tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  local outcome, remaining, reset, retry = 0, 0, 0, 0
  if kind == 'r' then
    local burst = extra
    if limit == 0 then
      outcome = 2
    else
      local unit = window / limit
      local full = tonumber(redis.call('GET', key) or now)
      full = math.min(math.max(full, now), now + burst * unit + window)
      local then_full = full + cost * unit
      -- A thousandth of a microsecond forgives what sums of fractions lose.
      if cost > burst then
        outcome = 2
      elseif then_full - now > burst * unit + 0.001 then
        outcome = 1
        retry = math.ceil((then_full - now - burst * unit) / 1000)
      end
      if outcome == 0 then after[i] = then_full else then_full = full end
      remaining = math.max(0, math.floor((burst * unit - (then_full - now)) / unit + 0.001))
      reset = math.ceil((then_full - now) / 1000)
    end
  elseif kind == 'c' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    local held = redis.call('ZCARD', key)
    if limit == 0 then outcome = 2 elseif held >= limit then outcome = 1 end
    remaining = math.max(0, limit - held - (outcome == 0 and 1 or 0))
  else
    local used = redis.call('GET', key)
    if not used and extra < 0 then
      outcome = 3
    else
      if not used then
        -- Kept also when the request is refused: the next one needs no seed.
        redis.call('SET', key, string.format('%.0f', extra), 'PX',
                   math.ceil(window / 1000) + 86400000)
      end
      used = tonumber(used or extra)
      if cost > limit or limit == 0 then
        outcome = 2
      elseif used + cost > limit then
        outcome = 1
      end
      if outcome == 0 then used = used + cost end
      after[i] = used
      remaining = math.max(0, limit - used)
      reset = math.ceil(window / 1000)
      if outcome ~= 0 then retry = reset end
    end
  end
  if outcome ~= 0 then all = 0 end
  local o = 2 + (i - 1) * 4
  out[o], out[o + 1], out[o + 2], out[o + 3] = outcome, remaining, reset, retry
end
out[1] = all
if all == 1 then
  for i, key in ipairs(KEYS) do
    local a = 3 + (i - 1) * 5
    local kind = ARGV[a]
    if kind == 'r' then
      redis.call('SET', key, string.format('%.3f', after[i]), 'PX',
                 math.ceil((after[i] - now) / 1000) + 1000)
    elseif kind == 'c' then
      redis.call('ZADD', key, now + lease_us, lease)
      redis.call('PEXPIRE', key, math.ceil(lease_us / 1000) + 1000)
    else
      redis.call('SET', key, string.format('%.0f', after[i]), 'PX',
                 math.ceil(tonumber(ARGV[a + 3]) / 1000) + 86400000)
    end
  end
end
return out
)lua";

// Per charge five arguments as above, the last of them what is to be added (negative: given back).
constexpr std::string_view kSettle = R"lua(
local t = redis.call('TIME')
local now = (t[1] - 1700000000) * 1000000 + t[2]
for i, key in ipairs(KEYS) do
  local a = 3 + (i - 1) * 5
  local kind, limit, burst = ARGV[a], tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local window, more = tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  if kind == 'c' then
    redis.call('ZREM', key, ARGV[1])
  elseif kind == 'r' then
    local full = redis.call('GET', key)
    if limit > 0 and (full or more > 0) then
      full = math.max(tonumber(full or now), now) + more * window / limit
      full = math.min(full, now + burst * window / limit + window)
      if full > now then
        redis.call('SET', key, string.format('%.3f', full), 'PX',
                   math.ceil((full - now) / 1000) + 1000)
      else
        redis.call('DEL', key)
      end
    end
  elseif redis.call('EXISTS', key) == 1 then
    local used = math.max(0, tonumber(redis.call('GET', key)) + more)
    redis.call('SET', key, string.format('%.0f', used), 'KEEPTTL')
  end
end
return 1
)lua";

// Pairs of key number and lease.
constexpr std::string_view kRenew = R"lua(
local t = redis.call('TIME')
local now = (t[1] - 1700000000) * 1000000 + t[2]
local lease_us = tonumber(ARGV[1])
for i = 2, #ARGV, 2 do
  redis.call('ZADD', KEYS[tonumber(ARGV[i])], now + lease_us, ARGV[i + 1])
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, math.ceil(lease_us / 1000) + 1000) end
return 1
)lua";

constexpr int64_t kNeedsSeed = 3;
constexpr size_t kRenewedAtOnce = 500;

const char* Letter(Kind kind) {
  return kind == Kind::kRate ? "r" : kind == Kind::kConcurrent ? "c" : "q";
}

class RedisLimiter final : public Limiter {
 public:
  RedisLimiter(redis::Client& client, QuotaSeed seed, RedisLimiterOptions options)
      : client_(client), seed_(std::move(seed)), options_(std::move(options)) {}

  absl::StatusOr<Verdict> Take(std::span<const Charge> charges, std::string_view lease) override {
    if (charges.empty()) return Verdict();
    std::vector<int64_t> seeds(charges.size(), -1);
    while (true) {
      WEFT_ASSIGN_OR_RETURN(const redis::Reply reply, RunTake(charges, seeds, lease));
      if (reply.items.size() != 1 + charges.size() * 4) {
        return Internal("the limits' script answered {} values", reply.items.size());
      }
      bool again = false;
      for (size_t i = 0; i < charges.size(); ++i) {
        if (reply.items[1 + i * 4].integer != kNeedsSeed) continue;
        if (seeds[i] >= 0) return Internal("the limits' script asks twice for a seed");
        uint64_t used = 0;
        if (seed_) {
          WEFT_ASSIGN_OR_RETURN(used, seed_(charges[i]));
        }
        seeds[i] = static_cast<int64_t>(used);
        again = true;
      }
      if (again) continue;
      Verdict out = Read(charges, reply);
      if (out.allowed) Hold(charges, lease);
      return out;
    }
  }

  absl::Status Settle(std::span<const Charge> charges, std::span<const uint64_t> actual,
                      std::string_view lease) override {
    {
      std::lock_guard lock(mutex_);
      for (const Charge& charge : charges) {
        if (charge.kind != Kind::kConcurrent) continue;
        const auto it = held_.find(charge.key);
        if (it == held_.end()) continue;
        it->second.erase(std::string(lease));
        if (it->second.empty()) held_.erase(it);
      }
    }
    std::vector<std::string> keys, arguments = Common(lease);
    for (size_t i = 0; i < charges.size(); ++i) {
      const Charge& charge = charges[i];
      if (charge.kind != Kind::kConcurrent && actual[i] == charge.cost) continue;
      keys.push_back(options_.prefix + charge.key);
      Append(charge, Burst(charge),
             static_cast<int64_t>(actual[i]) - static_cast<int64_t>(charge.cost), arguments);
    }
    if (keys.empty()) return absl::OkStatus();
    return client_.Eval(settle_, keys, arguments).status();
  }

  absl::Status Renew() override {
    std::vector<std::pair<std::string, std::string>> all;
    {
      std::lock_guard lock(mutex_);
      for (const auto& [key, leases] : held_) {
        for (const std::string& lease : leases) all.emplace_back(key, lease);
      }
    }
    for (size_t begin = 0; begin < all.size(); begin += kRenewedAtOnce) {
      std::vector<std::string> keys;
      std::vector<std::string> arguments = {Micros(options_.lease_time)};
      for (size_t i = begin; i < std::min(all.size(), begin + kRenewedAtOnce); ++i) {
        const std::string key = options_.prefix + all[i].first;
        if (keys.empty() || keys.back() != key) keys.push_back(key);
        arguments.push_back(std::to_string(keys.size()));
        arguments.push_back(all[i].second);
      }
      WEFT_RETURN_IF_ERROR(client_.Eval(renew_, keys, arguments).status());
    }
    return absl::OkStatus();
  }

 private:
  static std::string Micros(milliseconds d) {
    return std::to_string(std::chrono::microseconds(d).count());
  }
  static int64_t Burst(const Charge& charge) {
    return static_cast<int64_t>(charge.burst == 0 ? charge.limit : charge.burst);
  }
  std::vector<std::string> Common(std::string_view lease) const {
    return {std::string(lease), Micros(options_.lease_time)};
  }
  static void Append(const Charge& charge, int64_t extra, int64_t cost,
                     std::vector<std::string>& out) {
    out.emplace_back(Letter(charge.kind));
    out.push_back(std::to_string(charge.limit));
    out.push_back(std::to_string(extra));
    out.push_back(Micros(charge.window));
    out.push_back(std::to_string(cost));
  }

  absl::StatusOr<redis::Reply> RunTake(std::span<const Charge> charges,
                                       std::span<const int64_t> seeds, std::string_view lease) {
    std::vector<std::string> keys, arguments = Common(lease);
    for (size_t i = 0; i < charges.size(); ++i) {
      const Charge& charge = charges[i];
      keys.push_back(options_.prefix + charge.key);
      Append(charge, charge.kind == Kind::kQuota ? seeds[i] : Burst(charge),
             static_cast<int64_t>(charge.cost), arguments);
    }
    return client_.Eval(take_, keys, arguments);
  }

  static Verdict Read(std::span<const Charge> charges, const redis::Reply& reply) {
    Verdict out;
    out.allowed = reply.items[0].integer == 1;
    for (size_t i = 0; i < charges.size(); ++i) {
      const auto value = [&](size_t at) { return reply.items[1 + i * 4 + at].integer; };
      Standing& standing = out.standings.emplace_back();
      standing.outcome = static_cast<Outcome>(value(0));
      standing.remaining = static_cast<uint64_t>(value(1));
      standing.reset = milliseconds(value(2));
      standing.retry_after = milliseconds(value(3));
    }
    out.binding = BindingOf(charges, out.standings);
    return out;
  }

  void Hold(std::span<const Charge> charges, std::string_view lease) {
    std::lock_guard lock(mutex_);
    for (const Charge& charge : charges) {
      if (charge.kind == Kind::kConcurrent) held_[charge.key].emplace(lease);
    }
  }

  redis::Client& client_;
  const QuotaSeed seed_;
  const RedisLimiterOptions options_;
  const redis::Script take_{kTake};
  const redis::Script settle_{kSettle};
  const redis::Script renew_{kRenew};
  std::mutex mutex_;
  std::map<std::string, std::set<std::string>> held_;  // leases by key, of this process
};

}  // namespace

std::unique_ptr<Limiter> NewRedisLimiter(redis::Client& client, QuotaSeed seed,
                                         RedisLimiterOptions options) {
  return std::make_unique<RedisLimiter>(client, std::move(seed), std::move(options));
}

}  // namespace weft::limits
