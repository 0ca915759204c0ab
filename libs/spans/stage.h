// The collector is a chain of stages:
//
//   receivers -> Intake (check, memory limit) -> DiskQueue -> Batcher -> ExportQueue -> Sender
//                                                                    \-> FileWriter   (OTLP out)
//
// A stage gets `next` when it is built. What a stage accepted it keeps, until the next accepted it
// or it is counted as failed; what it refuses stays the caller's. What DiskQueue accepted outlives
// the process until the end of the chain has delivered it.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "libs/spans/model.h"

namespace weft::spans {

class MemoryLimiter;

// Bytes of a batch that is being held somewhere in the collector. Gives them back when destroyed.
class MemoryLease {
 public:
  MemoryLease() = default;
  MemoryLease(MemoryLimiter* limiter, size_t bytes) : limiter_(limiter), bytes_(bytes) {}
  MemoryLease(MemoryLease&& other) noexcept { *this = std::move(other); }
  MemoryLease& operator=(MemoryLease&& other) noexcept {
    std::swap(limiter_, other.limiter_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MemoryLease();
  size_t bytes() const { return bytes_; }

 private:
  MemoryLimiter* limiter_ = nullptr;
  size_t bytes_ = 0;
};

// A batch's spans are also kept elsewhere until they are delivered. When the last holder lets go
// they are forgotten there: they were delivered, or given up for good.
class Delivery {
 public:
  virtual ~Delivery() = default;
  // They were not delivered and shall be kept for a later process. Thread safe.
  virtual void Keep() = 0;
};

struct Batch {
  Spans spans;
  MemoryLease lease;
  std::vector<std::shared_ptr<Delivery>> deliveries = {};

  // For a batch that a stage cannot hand on before it ends. False: the spans are lost with it.
  bool Keep() const {
    for (const auto& delivery : deliveries) delivery->Keep();
    return !deliveries.empty();
  }
};

class Stage {
 public:
  virtual ~Stage() = default;

  // Thread safe, does not block on the network. OK: the batch was taken (moved from). An error with
  // RetryAfterOf (RESOURCE_EXHAUSTED): nothing was taken, `batch` is as it was.
  virtual absl::Status Consume(Batch& batch) = 0;

  // Begins the stage's own work. Call it after the next stage's Start.
  virtual void Start() {}

  // Hands on what is held, within `wait`; from then on Consume refuses. Call it before the next
  // stage's Shutdown. Legal before Start and twice.
  virtual void Shutdown(std::chrono::nanoseconds wait) = 0;
};

// Sends one batch to its destination, blocking for at most `timeout`. Any thread.
class Sender {
 public:
  virtual ~Sender() = default;
  struct Result {
    absl::Status status;
    size_t rejected_spans = 0;  // of an accepted batch, those that the destination refused for good
  };
  virtual Result Send(const Spans& spans, std::chrono::nanoseconds timeout) = 0;
  // Ends the sends in flight, and all later ones, with CANCELLED.
  virtual void Cancel() = 0;
};

}  // namespace weft::spans
