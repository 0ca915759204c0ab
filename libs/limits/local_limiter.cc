#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "libs/base/status.h"
#include "libs/limits/limiter.h"

namespace weft::limits {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using Outcome = Standing::Outcome;

milliseconds CeilMillis(nanoseconds d) {
  return std::chrono::ceil<milliseconds>(std::max(d, nanoseconds::zero()));
}

// A rate as it stands at `now`. `full_at` is when the whole burst is there again: GCRA's
// theoretical arrival time.
struct Rate {
  Rate(const Charge& charge, SteadyTime full_at, SteadyTime at)
      : limit(std::max<uint64_t>(charge.limit, 1)),
        window(charge.window),
        burst(charge.burst == 0 ? charge.limit : charge.burst),
        now(at),
        // A limit that was lowered must not leave a debt without end.
        begin(std::clamp(full_at, at, at + Time(burst) + window)) {}

  // Rounded up: never more than the limit says.
  nanoseconds Time(uint64_t units) const {
    const auto total = static_cast<unsigned __int128>(units) * window.count() + limit - 1;
    return nanoseconds(static_cast<int64_t>(std::min<unsigned __int128>(
        total / limit, nanoseconds(std::chrono::hours(24 * 365)).count())));
  }

  Standing Look(const Charge& charge) const {
    Standing out;
    const SteadyTime after = begin + Time(charge.cost);
    if (charge.limit == 0 || charge.cost > burst) {
      out.outcome = Outcome::kNever;
    } else if (after - now > Time(burst)) {
      out.outcome = Outcome::kRefused;
      out.retry_after = CeilMillis(after - now - Time(burst));
    }
    const nanoseconds used = (out.outcome == Outcome::kPassed ? after : begin) - now;
    const nanoseconds left = Time(burst) - used;
    if (charge.limit > 0 && left.count() > 0) {
      out.remaining = static_cast<uint64_t>(static_cast<unsigned __int128>(left.count()) * limit /
                                            window.count());
    }
    out.reset = CeilMillis(used);
    return out;
  }

  uint64_t limit;
  nanoseconds window;
  uint64_t burst;
  SteadyTime now;
  SteadyTime begin;
};

Standing LookAtCount(const Charge& charge, uint64_t used) {
  Standing out;
  const uint64_t cost = charge.kind == Kind::kConcurrent ? 1 : charge.cost;
  const uint64_t free = charge.limit > used ? charge.limit - used : 0;
  if (charge.limit == 0 || (charge.kind == Kind::kQuota && cost > charge.limit)) {
    out.outcome = Outcome::kNever;
  } else if (cost > free) {
    out.outcome = Outcome::kRefused;
  }
  out.remaining = out.outcome == Outcome::kPassed ? free - cost : free;
  if (charge.kind == Kind::kQuota) {
    out.reset = charge.window;
    if (out.outcome != Outcome::kPassed) out.retry_after = charge.window;
  }
  return out;
}

class LocalLimiter final : public Limiter {
 public:
  LocalLimiter(QuotaSeed seed, Clock& clock, size_t max_keys)
      : seed_(std::move(seed)), clock_(clock), max_keys_(std::max<size_t>(max_keys, 1)) {}

  absl::StatusOr<Verdict> Take(std::span<const Charge> charges, std::string_view) override {
    WEFT_RETURN_IF_ERROR(SeedQuotas(charges));
    const SteadyTime now = clock_.Now();
    Verdict out;
    out.standings.reserve(charges.size());
    std::lock_guard lock(mutex_);
    for (const Charge& charge : charges) {
      out.standings.push_back(LookLocked(charge, now));
      if (out.standings.back().outcome != Outcome::kPassed) out.allowed = false;
    }
    if (out.allowed) {
      for (const Charge& charge : charges) TakeLocked(charge, now);
    }
    out.binding = BindingOf(charges, out.standings);
    return out;
  }

  absl::Status Settle(std::span<const Charge> charges, std::span<const uint64_t> actual,
                      std::string_view) override {
    const SteadyTime now = clock_.Now();
    std::lock_guard lock(mutex_);
    for (size_t i = 0; i < charges.size(); ++i) SettleLocked(charges[i], actual[i], now);
    return absl::OkStatus();
  }

 private:
  // Looking for full rates costs a pass: not for every new key of a flood.
  static constexpr std::chrono::seconds kSweepInterval{1};

  // Outside the lock: a seed is a sum over a database. Whoever comes second is ignored.
  absl::Status SeedQuotas(std::span<const Charge> charges) {
    for (const Charge& charge : charges) {
      if (charge.kind != Kind::kQuota) continue;
      {
        std::lock_guard lock(mutex_);
        if (quotas_.contains(charge.key)) continue;
      }
      uint64_t used = 0;
      if (seed_) {
        WEFT_ASSIGN_OR_RETURN(used, seed_(charge));
      }
      std::lock_guard lock(mutex_);
      if (quotas_.size() >= max_keys_) quotas_.erase(quotas_.begin());
      quotas_.try_emplace(charge.key, used);
    }
    return absl::OkStatus();
  }

  Standing LookLocked(const Charge& charge, SteadyTime now) const {
    if (charge.kind == Kind::kRate) return Rate(charge, FullAt(charge.key, now), now).Look(charge);
    const auto& counts = charge.kind == Kind::kQuota ? quotas_ : held_;
    const auto it = counts.find(charge.key);
    return LookAtCount(charge, it == counts.end() ? 0 : it->second);
  }

  void TakeLocked(const Charge& charge, SteadyTime now) {
    switch (charge.kind) {
      case Kind::kConcurrent:
        ++held_[charge.key];
        return;
      case Kind::kQuota:
        quotas_[charge.key] += charge.cost;
        return;
      case Kind::kRate:
        break;
    }
    const Rate rate(charge, FullAt(charge.key, now), now);
    auto it = full_at_.find(charge.key);
    if (it == full_at_.end()) {
      if (full_at_.size() >= max_keys_) MakeRoomLocked(now);
      it = full_at_.emplace(charge.key, now).first;
    }
    it->second = rate.begin + rate.Time(charge.cost);
  }

  void SettleLocked(const Charge& charge, uint64_t actual, SteadyTime now) {
    if (charge.kind == Kind::kConcurrent) {
      const auto it = held_.find(charge.key);
      if (it != held_.end() && --it->second == 0) held_.erase(it);
      return;
    }
    if (actual == charge.cost) return;
    if (charge.kind == Kind::kQuota) {
      const auto it = quotas_.find(charge.key);
      if (it == quotas_.end()) return;  // forgotten: its seed will know
      it->second += actual;
      it->second -= std::min(it->second, charge.cost);
      return;
    }
    const Rate rate(charge, FullAt(charge.key, now), now);
    const nanoseconds more = rate.Time(actual) - rate.Time(charge.cost);
    if (actual > charge.cost) {
      full_at_[charge.key] = rate.begin + more;
    } else if (const auto it = full_at_.find(charge.key); it != full_at_.end()) {
      it->second = std::max(now, it->second + more);
    }
  }

  SteadyTime FullAt(const std::string& key, SteadyTime now) const {
    const auto it = full_at_.find(key);
    return it == full_at_.end() ? now : it->second;
  }

  void MakeRoomLocked(SteadyTime now) {
    if (now >= next_sweep_) {
      next_sweep_ = now + kSweepInterval;
      std::erase_if(full_at_, [&](const auto& entry) { return entry.second <= now; });
    }
    if (full_at_.size() >= max_keys_) full_at_.erase(full_at_.begin());
  }

  const QuotaSeed seed_;
  Clock& clock_;
  const size_t max_keys_;
  std::mutex mutex_;
  std::unordered_map<std::string, SteadyTime> full_at_;
  std::unordered_map<std::string, uint64_t> held_;
  std::unordered_map<std::string, uint64_t> quotas_;
  SteadyTime next_sweep_{};
};

// Left of all, so that limits of different sizes can be compared.
double PartLeft(const Charge& charge, const Standing& standing) {
  const uint64_t most =
      charge.kind == Kind::kRate && charge.burst != 0 ? charge.burst : charge.limit;
  return most == 0 ? 0 : static_cast<double>(standing.remaining) / static_cast<double>(most);
}

}  // namespace

size_t BindingOf(std::span<const Charge> charges, std::span<const Standing> standings) {
  size_t out = 0;
  for (size_t i = 1; i < charges.size(); ++i) {
    const Standing& one = standings[i];
    const Standing& best = standings[out];
    if (one.outcome != best.outcome) {
      if (one.outcome > best.outcome) out = i;
    } else if (one.outcome == Outcome::kPassed) {
      if (PartLeft(charges[i], one) < PartLeft(charges[out], best)) out = i;
    } else if (one.retry_after > best.retry_after) {
      out = i;
    }
  }
  return out;
}

std::unique_ptr<Limiter> NewLocalLimiter(QuotaSeed seed, Clock& clock, size_t max_keys) {
  return std::make_unique<LocalLimiter>(std::move(seed), clock, max_keys);
}

}  // namespace weft::limits
