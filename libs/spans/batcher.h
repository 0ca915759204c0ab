// Joins small requests and splits large ones into batches of a good size.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "libs/spans/intake.h"
#include "libs/spans/memory_limiter.h"
#include "libs/spans/stage.h"

namespace weft::spans {

struct BatcherOptions {
  size_t max_spans = 2048;
  size_t max_bytes = 2 << 20;  // below the 4 MiB that gRPC receivers take by default
  std::chrono::milliseconds max_wait{200};
};

// One thread hands batches on. A full next stage holds them here, and memory runs out: that is how
// back pressure reaches the clients.
class Batcher final : public Stage {
 public:
  Batcher(Stage& next, MemoryLimiter& memory, BatcherOptions options, Metrics& metrics)
      : next_(next), memory_(memory), options_(options), metrics_(metrics) {}
  ~Batcher() override { Shutdown(std::chrono::nanoseconds(0)); }

  absl::Status Consume(Batch& batch) override;
  void Start() override;
  // What the next stage did not take within `wait` is kept on the disk or counted as failed.
  void Shutdown(std::chrono::nanoseconds wait) override;

 private:
  struct Pending {
    Spans spans;
    size_t count = 0;
    size_t bytes = 0;
    MemoryLease lease;
    std::vector<std::shared_ptr<Delivery>> deliveries;
  };

  void Run();
  void AddLocked(Spans spans, const std::vector<std::shared_ptr<Delivery>>& deliveries);
  void SealLocked();

  Stage& next_;
  MemoryLimiter& memory_;
  const BatcherOptions options_;
  Metrics& metrics_;

  std::mutex mutex_;
  std::condition_variable changed_;
  Pending open_;  // grows until it is full or old
  std::chrono::steady_clock::time_point open_since_;
  std::deque<Batch> sealed_;  // ready for the next stage
  bool stopping_ = false;
  std::chrono::steady_clock::time_point stop_by_;
  std::thread thread_;
};

}  // namespace weft::spans
