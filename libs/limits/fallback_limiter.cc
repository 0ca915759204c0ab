#include "libs/limits/fallback_limiter.h"

#include <deque>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "libs/base/status.h"

namespace weft::limits {
namespace {

// Settlements that wait for the store: each is a few hundred bytes. Beyond, the oldest are dropped:
// their estimates count in place of what was really used, and their leases run out.
constexpr size_t kMaxPending = 20'000;

class FallbackLimiter final : public Limiter {
 public:
  FallbackLimiter(std::unique_ptr<Limiter> shared, std::unique_ptr<Limiter> local,
                  WhenAway when_away, FallbackHooks hooks)
      : shared_(std::move(shared)),
        local_(std::move(local)),
        when_away_(when_away),
        hooks_(std::move(hooks)) {}

  absl::StatusOr<Verdict> Take(std::span<const Charge> charges, std::string_view lease) override {
    auto verdict = shared_->Take(charges, lease);
    if (verdict.ok()) return verdict;
    const bool local = when_away_ == WhenAway::kLocal;
    if (hooks_.away) hooks_.away(verdict.status(), local);
    if (!local) return Unavailable("limits cannot be checked: {}", Message(verdict.status()));
    verdict = local_->Take(charges, lease);
    if (verdict.ok() && verdict->allowed) {
      std::lock_guard lock(mutex_);
      taken_here_.emplace(lease);
    }
    return verdict;
  }

  absl::Status Settle(std::span<const Charge> charges, std::span<const uint64_t> actual,
                      std::string_view lease) override {
    {
      std::unique_lock lock(mutex_);
      if (taken_here_.erase(std::string(lease)) > 0) {
        lock.unlock();
        return local_->Settle(charges, actual, lease);
      }
    }
    const absl::Status status = shared_->Settle(charges, actual, lease);
    if (status.ok()) return status;
    if (hooks_.away) hooks_.away(status, false);
    std::lock_guard lock(mutex_);
    if (pending_.size() >= kMaxPending) pending_.pop_front();
    pending_.push_back(
        {{charges.begin(), charges.end()}, {actual.begin(), actual.end()}, std::string(lease)});
    return absl::OkStatus();
  }

  absl::Status Renew() override {
    WEFT_RETURN_IF_ERROR(shared_->Renew());
    while (true) {
      Settlement next;
      {
        std::lock_guard lock(mutex_);
        if (pending_.empty()) return absl::OkStatus();
        next = std::move(pending_.front());
        pending_.pop_front();
      }
      const absl::Status status = shared_->Settle(next.charges, next.actual, next.lease);
      if (status.ok()) continue;
      std::lock_guard lock(mutex_);
      pending_.push_front(std::move(next));
      return status;
    }
  }

 private:
  struct Settlement {
    std::vector<Charge> charges;
    std::vector<uint64_t> actual;
    std::string lease;
  };

  const std::unique_ptr<Limiter> shared_;
  const std::unique_ptr<Limiter> local_;
  const WhenAway when_away_;
  const FallbackHooks hooks_;
  std::mutex mutex_;
  std::unordered_set<std::string> taken_here_;
  std::deque<Settlement> pending_;
};

}  // namespace

std::unique_ptr<Limiter> NewFallbackLimiter(std::unique_ptr<Limiter> shared,
                                            std::unique_ptr<Limiter> local, WhenAway when_away,
                                            FallbackHooks hooks) {
  return std::make_unique<FallbackLimiter>(std::move(shared), std::move(local), when_away,
                                           std::move(hooks));
}

}  // namespace weft::limits
