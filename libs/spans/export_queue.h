// A bounded queue before a destination, and the threads that send from it.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "libs/rpc/backoff.h"
#include "libs/spans/intake.h"
#include "libs/spans/stage.h"

namespace weft::spans {

struct ExportOptions {
  std::string name = "otlp";  // label of the metrics
  size_t queue_batches = 256;
  int senders = 2;                            // batches in flight
  std::chrono::milliseconds timeout{10'000};  // of one attempt
  rpc::BackoffOptions backoff{std::chrono::milliseconds(500), std::chrono::milliseconds(30'000),
                              2.0, 0.2};
  std::chrono::milliseconds give_up{86'400'000};  // after the first attempt of a batch; 0: never
};

// A batch is sent until the destination takes it, refuses it for good, or give_up is over; only
// then it is counted as failed. Retries wait with exponential backoff and jitter, or as long as the
// destination asks (RetryAfterOf).
class ExportQueue final : public Stage {
 public:
  ExportQueue(std::unique_ptr<Sender> sender, ExportOptions options, Metrics& metrics);
  ~ExportQueue() override { Shutdown(std::chrono::nanoseconds(0)); }

  absl::Status Consume(Batch& batch) override;
  void Start() override;
  // Sends what is queued; after `wait` it cancels what is in flight. The rest stays on the disk or
  // is counted as failed.
  void Shutdown(std::chrono::nanoseconds wait) override;

  size_t queued_batches() const;

 private:
  void Run();
  void SendBatch(Batch batch);
  void Fail(const Batch& batch, const absl::Status& status);
  void Leave(const Batch& batch, const absl::Status& status);  // at shutdown

  const std::unique_ptr<Sender> sender_;
  const ExportOptions options_;
  Metrics& metrics_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> queue_;
  bool stopping_ = false;
  std::chrono::steady_clock::time_point stop_by_;
  int running_ = 0;  // of threads_
  std::vector<std::thread> threads_;
};

// By the OTLP specification: which errors mean "send again".
bool IsRetryable(const absl::Status& status);

}  // namespace weft::spans
