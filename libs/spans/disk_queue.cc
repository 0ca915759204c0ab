#include "libs/spans/disk_queue.h"

#include <atomic>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace weft::spans {
namespace {

using SteadyClock = std::chrono::steady_clock;
const telemetry::Logger kLog("collector.disk");
constexpr std::chrono::milliseconds kMaintainEvery{100};
constexpr std::chrono::milliseconds kTryAgain{20};  // when the next stage is full

}  // namespace

struct DiskQueue::Shared {
  explicit Shared(std::unique_ptr<SegmentLog> l) : log(std::move(l)) {}

  const std::unique_ptr<SegmentLog> log;
  std::mutex mutex;
  std::condition_variable changed;
  bool more = true;  // the log may hold what was not read
  size_t in_flight_bytes = 0;
  bool stopping = false;
  SteadyClock::time_point stop_by;
};

class DiskQueue::Record final : public Delivery {
 public:
  Record(std::shared_ptr<Shared> shared, uint64_t sequence, size_t bytes)
      : shared_(std::move(shared)), sequence_(sequence), bytes_(bytes) {}
  ~Record() override {
    if (!kept_) shared_->log->Done(sequence_);
    std::lock_guard lock(shared_->mutex);
    shared_->in_flight_bytes -= bytes_;
    shared_->changed.notify_all();
  }
  void Keep() override { kept_ = true; }

 private:
  const std::shared_ptr<Shared> shared_;
  const uint64_t sequence_;
  const size_t bytes_;
  std::atomic<bool> kept_ = false;
};

DiskQueue::DiskQueue(Stage& next, std::unique_ptr<SegmentLog> log, SpanCodec codec,
                     MemoryLimiter& memory, size_t window_bytes, Metrics& metrics)
    : next_(next),
      codec_(std::move(codec)),
      memory_(memory),
      window_bytes_(window_bytes),
      metrics_(metrics),
      shared_(std::make_shared<Shared>(std::move(log))) {}

DiskQueue::~DiskQueue() {
  Shutdown(std::chrono::nanoseconds(0));
  Close();
}

absl::Status DiskQueue::Consume(Batch& batch) {
  {
    std::lock_guard lock(shared_->mutex);
    if (shared_->stopping) {
      return WithRetryAfter(Unavailable("the collector is shutting down"),
                            std::chrono::milliseconds(1000));
    }
  }
  WEFT_RETURN_IF_ERROR(shared_->log->Append(codec_.encode(batch.spans)));
  batch = Batch();
  {
    std::lock_guard lock(shared_->mutex);
    shared_->more = true;
  }
  shared_->changed.notify_all();
  return absl::OkStatus();
}

void DiskQueue::Start() {
  std::lock_guard lock(shared_->mutex);
  if (thread_.joinable() || shared_->stopping) return;
  thread_ = std::thread([this] { Run(); });
}

void DiskQueue::Run() {
  std::unique_lock lock(shared_->mutex);
  while (true) {
    const auto may_feed = [this] {
      return shared_->more && shared_->in_flight_bytes < window_bytes_;
    };
    shared_->changed.wait_for(lock, kMaintainEvery,
                              [&] { return shared_->stopping || may_feed(); });
    if (shared_->stopping && (!shared_->more || SteadyClock::now() >= shared_->stop_by)) return;
    if (!may_feed()) {
      if (shared_->stopping) shared_->changed.wait_for(lock, kTryAgain);
      lock.unlock();
      shared_->log->Maintain();
      lock.lock();
      continue;
    }
    shared_->more = false;  // before the log is read: an append from now on sets it again
    lock.unlock();
    const bool fed = FeedNext();
    lock.lock();
    shared_->more |= fed;
  }
}

// False: there is nothing more to read.
bool DiskQueue::FeedNext() {
  std::optional<SegmentLog::Record> record = shared_->log->ReadNext();
  if (!record) {
    shared_->log->Maintain();
    return false;
  }
  auto spans = codec_.decode(record->payload);
  if (!spans.ok()) {
    metrics_.failed.With({"disk_queue"}).Increment();
    kLog.Error("a record of the disk queue cannot be read",
               {{"sequence", record->sequence}, {"exception", spans.status()}});
    shared_->log->Done(record->sequence);
    return true;
  }
  const size_t bytes = ApproximateBytes(*spans);
  {
    std::lock_guard lock(shared_->mutex);
    shared_->in_flight_bytes += bytes;
  }
  Batch batch{*std::move(spans), memory_.Acquire(bytes), {}};
  batch.deliveries.push_back(std::make_shared<Record>(shared_, record->sequence, bytes));
  while (!next_.Consume(batch).ok()) {
    std::unique_lock lock(shared_->mutex);
    if (shared_->stopping && SteadyClock::now() >= shared_->stop_by) {
      lock.unlock();
      batch.Keep();
      return false;
    }
    shared_->changed.wait_for(lock, kTryAgain);
  }
  return true;
}

void DiskQueue::Shutdown(std::chrono::nanoseconds wait) {
  {
    std::lock_guard lock(shared_->mutex);
    if (!shared_->stopping) {
      shared_->stopping = true;
      shared_->stop_by = SteadyClock::now() + wait;
    }
  }
  shared_->changed.notify_all();
  if (thread_.joinable()) thread_.join();
}

void DiskQueue::Close() { shared_->log->Close(); }

SegmentLog::Stats DiskQueue::stats() const { return shared_->log->stats(); }

uint64_t DiskQueue::max_bytes() const { return shared_->log->max_bytes(); }

}  // namespace weft::spans
