// What a gateway keeps in memory of the database, read anew when it changes.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "libs/base/status.h"
#include "libs/store/changes.h"
#include "libs/store/database.h"
#include "libs/telemetry/log.h"

namespace weft::gateway {

// A thread of its own asks the database for changes of the topic. While it is away what was read
// last holds.
template <typename T>
class Followed {
 public:
  static constexpr std::chrono::milliseconds kPoll{300};
  using Load = std::function<absl::StatusOr<T>(store::Database&)>;

  // `what` is for logs and errors. UNAVAILABLE when it cannot be read at first.
  static absl::StatusOr<std::unique_ptr<Followed>> Start(std::shared_ptr<store::Database> database,
                                                         store::Topic topic, std::string what,
                                                         Load load) {
    std::unique_ptr<Followed> out(
        new Followed(std::move(database), topic, std::move(what), std::move(load)));
    WEFT_RETURN_IF_ERROR(Annotate(out->Look(), out->what_));
    out->thread_ = std::thread([followed = out.get()] { followed->Run(); });
    return out;
  }
  ~Followed() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    stopped_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  // Never nullptr. Thread safe, and quick.
  std::shared_ptr<const T> now() const {
    std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  Followed(std::shared_ptr<store::Database> database, store::Topic topic, std::string what,
           Load load)
      : database_(std::move(database)),
        topic_(topic),
        what_(std::move(what)),
        load_(std::move(load)) {}

  absl::Status Look() {
    // The number first: a change between the two reads is seen again.
    WEFT_ASSIGN_OR_RETURN(const int64_t number, store::ChangeNumber(*database_, topic_));
    if (number == seen_) return absl::OkStatus();
    WEFT_ASSIGN_OR_RETURN(T value, load_(*database_));
    auto next = std::make_shared<const T>(std::move(value));
    seen_ = number;
    std::lock_guard lock(mutex_);
    value_ = std::move(next);
    return absl::OkStatus();
  }

  void Run() {
    const telemetry::Logger log("gateway.store");
    bool failed = false;
    std::unique_lock lock(mutex_);
    while (!stopped_.wait_for(lock, kPoll, [this] { return stop_; })) {
      lock.unlock();
      const absl::Status status = Look();
      if (!status.ok() && !std::exchange(failed, true)) {
        log.Warning("changes cannot be read; what was read last holds",
                    {{"what", what_}, {"exception", status}});
      }
      if (status.ok()) failed = false;
      lock.lock();
    }
  }

  const std::shared_ptr<store::Database> database_;
  const store::Topic topic_;
  const std::string what_;
  const Load load_;
  int64_t seen_ = -1;  // the thread's

  mutable std::mutex mutex_;
  std::shared_ptr<const T> value_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace weft::gateway
