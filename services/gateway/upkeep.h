// What a gateway does by itself from time to time: retention, and rows of system_metrics.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "libs/store/database.h"
#include "services/gateway/retention.h"
#include "services/gateway/system_sampler.h"

namespace weft::gateway {

struct UpkeepOptions {
  RetentionConfig retention;
  std::chrono::milliseconds metrics_interval{std::chrono::minutes(1)};  // 0: no rows
  int64_t prompt_days = 0;
  std::string audit_key;
  std::string gateway;  // its id
  std::string folder;   // whose file system is looked at
};

// A thread of its own. Of several gateways over one database one prunes, and one counts what
// tenants used; each writes how it does itself.
class Upkeep {
 public:
  // What `served` refers to outlives it.
  Upkeep(std::shared_ptr<store::Database> database, UpkeepOptions options,
         std::function<ServedTotals()> served, Clock& clock = Clock::Real());
  ~Upkeep();

 private:
  void Run();
  absl::Status Prune();
  absl::Status Measure();

  const std::shared_ptr<store::Database> database_;
  const UpkeepOptions options_;
  const std::function<ServedTotals()> served_;
  Clock& clock_;
  SystemSampler sampler_;  // the thread's

  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace weft::gateway
