#include "libs/spans/export_queue.h"

#include <algorithm>

#include "libs/base/error_info.h"
#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace weft::spans {
namespace {

using SteadyClock = std::chrono::steady_clock;
const telemetry::Logger kLog("collector.export");

}  // namespace

bool IsRetryable(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDataLoss:
      return true;
    case absl::StatusCode::kResourceExhausted:
      return RetryAfterOf(status).has_value();  // else the batch itself is too large
    default:
      return false;
  }
}

ExportQueue::ExportQueue(std::unique_ptr<Sender> sender, ExportOptions options, Metrics& metrics)
    : sender_(std::move(sender)), options_(std::move(options)), metrics_(metrics) {}

void ExportQueue::Start() {
  std::lock_guard lock(mutex_);
  if (!threads_.empty() || stopping_) return;
  running_ = options_.senders;
  for (int i = 0; i < options_.senders; ++i) threads_.emplace_back([this] { Run(); });
}

absl::Status ExportQueue::Consume(Batch& batch) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return Unavailable("{}: shut down", options_.name);
    if (queue_.size() >= options_.queue_batches) {
      return WithRetryAfter(
          ResourceExhausted("{}: {} batches are waiting", options_.name, queue_.size()),
          std::chrono::milliseconds(1000));
    }
    queue_.push_back(std::move(batch));
  }
  changed_.notify_all();  // a sender that pauses between attempts waits here too
  return absl::OkStatus();
}

size_t ExportQueue::queued_batches() const {
  std::lock_guard lock(mutex_);
  return queue_.size();
}

void ExportQueue::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) break;
    Batch batch = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    SendBatch(std::move(batch));
    lock.lock();
  }
  --running_;
  changed_.notify_all();
}

void ExportQueue::SendBatch(Batch batch) {
  const size_t count = CountSpans(batch.spans);
  const auto give_up = options_.give_up.count() > 0 ? SteadyClock::now() + options_.give_up
                                                    : SteadyClock::time_point::max();
  rpc::Backoff backoff(options_.backoff, RandomU64());
  absl::Status status = DeadlineExceeded("{}: shut down before it was sent", options_.name);
  while (true) {
    auto limit = give_up;
    {
      std::lock_guard lock(mutex_);
      if (stopping_) limit = std::min(limit, stop_by_);
    }
    const auto now = SteadyClock::now();
    if (now >= limit) break;
    const Sender::Result result = sender_->Send(
        batch.spans, std::min<std::chrono::nanoseconds>(limit - now, options_.timeout));
    if (result.status.ok()) {
      const size_t rejected = std::min(result.rejected_spans, count);
      metrics_.exported.With({options_.name}).Increment(static_cast<double>(count - rejected));
      if (rejected > 0) {
        metrics_.failed.With({options_.name}).Increment(static_cast<double>(rejected));
        kLog.Warning("the destination rejected spans",
                     {{"exporter", options_.name}, {"spans", rejected}});
      }
      return;
    }
    status = result.status;
    if (!IsRetryable(status)) break;
    metrics_.retries.With({options_.name}).Increment();
    if (backoff.attempts() == 0) {
      kLog.Warning("export failed, trying again",
                   {{"exporter", options_.name}, {"exception", status}});
    }
    std::chrono::nanoseconds pause = backoff.Next();
    if (const auto asked = RetryAfterOf(status)) {
      pause = std::max<std::chrono::nanoseconds>(pause, *asked);
    }
    std::unique_lock lock(mutex_);
    const auto wake = std::min(SteadyClock::now() + pause, limit);
    // Shutdown cuts the pause short, once; the rest of its time is used like any other.
    const bool was_stopping = stopping_;
    changed_.wait_until(lock, wake, [&] { return stopping_ && !was_stopping; });
  }
  if (!IsRetryable(status) || SteadyClock::now() >= give_up) {
    Fail(batch, status);
  } else {
    Leave(batch, status);
  }
}

void ExportQueue::Leave(const Batch& batch, const absl::Status& status) {
  if (!batch.Keep()) return Fail(batch, status);
  kLog.Info("spans stay on the disk until the next start",
            {{"exporter", options_.name}, {"spans", CountSpans(batch.spans)}});
}

void ExportQueue::Fail(const Batch& batch, const absl::Status& status) {
  const size_t count = CountSpans(batch.spans);
  metrics_.failed.With({options_.name}).Increment(static_cast<double>(count));
  kLog.Error("spans were given up",
             {{"exporter", options_.name}, {"spans", count}, {"exception", status}});
}

void ExportQueue::Shutdown(std::chrono::nanoseconds wait) {
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      stopping_ = true;
      stop_by_ = SteadyClock::now() + wait;
    }
  }
  changed_.notify_all();
  {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, stop_by_, [this] { return running_ == 0; });
  }
  sender_->Cancel();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  // Never started: nobody else will send these.
  std::deque<Batch> left;
  {
    std::lock_guard lock(mutex_);
    left.swap(queue_);
  }
  for (const Batch& batch : left) {
    Leave(batch, Unavailable("{}: shut down before it was sent", options_.name));
  }
}

}  // namespace weft::spans
