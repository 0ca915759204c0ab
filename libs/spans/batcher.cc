#include "libs/spans/batcher.h"

#include "libs/base/error_info.h"
#include "libs/base/status.h"

namespace weft::spans {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kTryAgain{20};  // when the next stage is full

}  // namespace

void Batcher::Start() {
  std::lock_guard lock(mutex_);
  if (thread_.joinable() || stopping_) return;
  thread_ = std::thread([this] { Run(); });
}

absl::Status Batcher::Consume(Batch& batch) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) {
      return WithRetryAfter(Unavailable("the collector is shutting down"),
                            std::chrono::milliseconds(1000));
    }
    AddLocked(std::move(batch.spans), batch.deliveries);
  }
  batch = Batch();  // the batches made of it hold leases of their own
  changed_.notify_one();
  return absl::OkStatus();
}

// Moves every span into the open batch, which is sealed whenever it is full.
void Batcher::AddLocked(Spans spans, const std::vector<std::shared_ptr<Delivery>>& deliveries) {
  bool delivers_here = false;  // the open batch holds `deliveries`
  for (ResourceSpans& resource : spans) {
    std::vector<ScopeSpans> scopes = std::move(resource.scopes);
    resource.scopes.clear();
    bool resource_open = false;  // the open batch ends with this resource
    for (ScopeSpans& scope : scopes) {
      std::vector<Span> items = std::move(scope.spans);
      scope.spans.clear();
      bool scope_open = false;
      for (Span& span : items) {
        const size_t bytes = ApproximateBytes(span);
        if (open_.count > 0 &&
            (open_.count >= options_.max_spans || open_.bytes + bytes > options_.max_bytes)) {
          SealLocked();
          resource_open = scope_open = delivers_here = false;
        }
        if (!std::exchange(delivers_here, true)) {
          open_.deliveries.insert(open_.deliveries.end(), deliveries.begin(), deliveries.end());
        }
        if (open_.count == 0) open_since_ = SteadyClock::now();
        if (!resource_open) {
          open_.spans.push_back(resource);
          open_.bytes += ApproximateBytes(Spans{resource});
          resource_open = true;
        }
        if (!scope_open) {
          open_.spans.back().scopes.push_back(scope);
          open_.bytes += ApproximateBytes(scope.scope_attributes) + scope.scope_name.size();
          scope_open = true;
        }
        open_.spans.back().scopes.back().spans.push_back(std::move(span));
        open_.bytes += bytes;
        ++open_.count;
      }
    }
  }
  open_.lease = memory_.Acquire(open_.bytes);
  if (open_.count >= options_.max_spans || open_.bytes >= options_.max_bytes) SealLocked();
}

void Batcher::SealLocked() {
  sealed_.push_back(
      {std::move(open_.spans), memory_.Acquire(open_.bytes), std::move(open_.deliveries)});
  open_ = Pending();
}

void Batcher::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    if (sealed_.empty()) {
      if (stopping_ && open_.count > 0) SealLocked();
      if (stopping_ && sealed_.empty()) return;
    }
    if (sealed_.empty()) {
      if (open_.count == 0) {
        changed_.wait(lock, [this] { return stopping_ || open_.count > 0 || !sealed_.empty(); });
        continue;
      }
      const auto due = open_since_ + options_.max_wait;
      changed_.wait_until(lock, due, [this] { return stopping_ || !sealed_.empty(); });
      if (sealed_.empty() && open_.count > 0 && SteadyClock::now() >= due) SealLocked();
      continue;
    }
    if (stopping_ && SteadyClock::now() > stop_by_) return;
    Batch batch = std::move(sealed_.front());
    sealed_.pop_front();
    lock.unlock();
    const absl::Status status = next_.Consume(batch);
    lock.lock();
    if (!status.ok()) {
      sealed_.push_front(std::move(batch));
      changed_.wait_for(lock, kTryAgain);
    }
  }
}

void Batcher::Shutdown(std::chrono::nanoseconds wait) {
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      stopping_ = true;
      stop_by_ = SteadyClock::now() + wait;
    }
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  std::lock_guard lock(mutex_);
  if (open_.count > 0) SealLocked();
  for (const Batch& batch : sealed_) {
    if (batch.Keep()) continue;
    metrics_.failed.With({"batcher"}).Increment(static_cast<double>(CountSpans(batch.spans)));
  }
  sealed_.clear();
}

}  // namespace weft::spans
