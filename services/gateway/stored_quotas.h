// Keeps the database's quotas in memory, as they change.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "libs/store/database.h"
#include "services/gateway/quota_book.h"

namespace weft::gateway {

// A thread of its own asks the database for changes. While it is away the last quotas hold.
class StoredQuotas {
 public:
  static constexpr std::chrono::milliseconds kPoll{300};

  // UNAVAILABLE when they cannot be read at first.
  static absl::StatusOr<std::unique_ptr<StoredQuotas>> Start(
      std::shared_ptr<store::Database> database, std::chrono::milliseconds poll = kPoll);
  ~StoredQuotas();

  // Never nullptr. Thread safe, and quick.
  std::shared_ptr<const QuotaBook> book() const;

 private:
  StoredQuotas(std::shared_ptr<store::Database> database, std::chrono::milliseconds poll)
      : database_(std::move(database)), poll_(poll) {}
  absl::Status Look();  // reads them anew where they changed
  void Run();

  const std::shared_ptr<store::Database> database_;
  const std::chrono::milliseconds poll_;
  int64_t seen_ = -1;  // the thread's

  mutable std::mutex mutex_;
  std::shared_ptr<const QuotaBook> book_ = std::make_shared<const QuotaBook>();
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace weft::gateway
