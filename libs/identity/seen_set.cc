#include "libs/identity/seen_set.h"

#include <map>
#include <mutex>
#include <string>
#include <unordered_map>

#include "libs/base/status.h"

namespace weft::identity {
namespace {

class LocalSeenSet final : public SeenSet {
 public:
  LocalSeenSet(Clock& clock, size_t max_names) : clock_(clock), max_names_(max_names) {}

  absl::StatusOr<bool> Add(std::string_view name, std::chrono::seconds keep) override {
    std::lock_guard lock(mutex_);
    const SteadyTime now = clock_.Now();
    Forget(now);
    std::string key(name);
    if (ends_.contains(key)) return false;
    if (ends_.size() >= max_names_) {
      return ResourceExhausted("{} names are remembered already", max_names_);
    }
    by_end_.emplace(now + keep, key);
    ends_.emplace(std::move(key), now + keep);
    return true;
  }

  absl::StatusOr<bool> Contains(std::string_view name) override {
    std::lock_guard lock(mutex_);
    Forget(clock_.Now());
    return ends_.contains(std::string(name));
  }

 private:
  void Forget(SteadyTime now) {
    while (!by_end_.empty() && by_end_.begin()->first <= now) {
      ends_.erase(by_end_.begin()->second);
      by_end_.erase(by_end_.begin());
    }
  }

  Clock& clock_;
  const size_t max_names_;
  std::mutex mutex_;
  std::unordered_map<std::string, SteadyTime> ends_;
  std::multimap<SteadyTime, std::string> by_end_;
};

}  // namespace

std::unique_ptr<SeenSet> NewLocalSeenSet(Clock& clock, size_t max_names) {
  return std::make_unique<LocalSeenSet>(clock, max_names);
}

}  // namespace weft::identity
