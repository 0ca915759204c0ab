// The stage that makes an accepted request outlive the process.
#pragma once

#include <absl/status/statusor.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "libs/spans/intake.h"
#include "libs/spans/memory_limiter.h"
#include "libs/spans/segment_log.h"
#include "libs/spans/stage.h"

namespace weft::spans {

// How spans are written to the disk. What `decode` cannot read is counted and passed over.
struct SpanCodec {
  std::function<std::string(const Spans&)> encode;
  std::function<absl::StatusOr<Spans>(std::string_view)> decode;
};

// Consume writes the batch to the log and is done; one thread reads the log and hands batches on,
// no more than `window_bytes` at once, so that a destination that is away costs disk and not
// memory. A record is done when every batch made of it is delivered or given up. What was not is
// handed on again by the next process: at least once.
class DiskQueue final : public Stage {
 public:
  DiskQueue(Stage& next, std::unique_ptr<SegmentLog> log, SpanCodec codec, MemoryLimiter& memory,
            size_t window_bytes, Metrics& metrics);
  ~DiskQueue() override;

  // Blocks for the write to the disk (SegmentLog::Append).
  absl::Status Consume(Batch& batch) override;
  void Start() override;
  // Hands on what the log holds, as far as `wait` goes. The rest stays on the disk.
  void Shutdown(std::chrono::nanoseconds wait) override;
  // Call it after the later stages' Shutdown: what they delivered is not handed on again.
  void Close();

  SegmentLog::Stats stats() const;
  uint64_t max_bytes() const;

 private:
  class Record;
  struct Shared;  // what records on their way still need when the queue is gone

  void Run();
  bool FeedNext();

  Stage& next_;
  const SpanCodec codec_;
  MemoryLimiter& memory_;
  const size_t window_bytes_;
  Metrics& metrics_;
  const std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

}  // namespace weft::spans
