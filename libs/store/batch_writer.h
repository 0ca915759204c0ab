// Rows of many requests in one transaction: each waits a little, and the disk is synced once.
#pragma once

#include <absl/status/status.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "libs/base/status.h"

namespace weft::store {

struct BatchWriterOptions {
  size_t capacity = 100'000;  // rows in memory; beyond, Add says no
  size_t batch = 512;         // rows of one transaction at most
  // How long rows that nobody waits for gather. Waking a thread at each of them costs the request
  // that brought it more than all the rest.
  std::chrono::milliseconds gather{20};
  std::chrono::milliseconds first_back_off{20};  // while the database is away
  std::chrono::milliseconds longest_back_off{1000};
};

// Thread safe. While the database is away the rows wait in memory and are tried again; each row
// carries an id of its own, so that one whose commit was not answered is not written twice.
template <typename T>
class BatchWriter {
 public:
  // `again`: some of the rows may be there already. Called by one thread. UNAVAILABLE and
  // RESOURCE_EXHAUSTED are tried again; any other error is the rows' own: they are then written
  // one by one, and those at fault are given up.
  using Flush = std::function<absl::Status(const std::vector<T>& rows, bool again)>;
  // Once, when the row is durable or was given up; called by the writer's thread: be quick.
  using Done = std::function<void(const absl::Status&)>;

  BatchWriter(Flush flush, BatchWriterOptions options = {})
      : flush_(std::move(flush)), options_(options), thread_([this] { Loop(); }) {}
  // Tries what is left once more; what cannot be written then is given up.
  ~BatchWriter() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  // Never blocks. False: full, and `done` is not called.
  bool Add(T row, Done done = {}) { return Put(std::move(row), std::move(done), false); }

  // Returns when the row is durable, or with an error. DEADLINE_EXCEEDED: it may still be written.
  absl::Status AddAndWait(T row, std::chrono::milliseconds limit) {
    auto promise = std::make_shared<std::promise<absl::Status>>();
    auto answer = promise->get_future();
    if (!Put(
            std::move(row), [promise](const absl::Status& s) { promise->set_value(s); }, true)) {
      return ResourceExhausted("too many rows wait for the database");
    }
    if (answer.wait_for(limit) != std::future_status::ready) {
      return DeadlineExceeded("the database did not take a row within {} ms", limit.count());
    }
    return answer.get();
  }

  struct Stats {
    size_t waiting = 0;
    uint64_t written = 0;
    uint64_t refused = 0;   // because of the capacity
    uint64_t given_up = 0;  // the database would not have them
    absl::Status last;      // of the last attempt
  };
  Stats stats() const {
    std::lock_guard lock(mutex_);
    return {waiting_.size(), written_, refused_, given_up_, last_};
  }

 private:
  struct Item {
    T row;
    Done done;
  };

  bool Put(T row, Done done, bool urgent) {
    bool wake = false;
    {
      std::lock_guard lock(mutex_);
      if (waiting_.size() >= options_.capacity || stop_) {
        ++refused_;
        return false;
      }
      waiting_.push_back({std::move(row), std::move(done)});
      urgent_ |= urgent;
      wake = urgent || asleep_ || waiting_.size() == options_.batch;
      asleep_ = false;
    }
    if (wake) changed_.notify_all();
    return true;
  }

  // With the lock. While rows come, it looks for them from time to time; else it sleeps until one
  // comes, and lets others join that one.
  void WaitForRows(std::unique_lock<std::mutex>& lock) {
    const auto ready = [&] { return stop_ || urgent_ || waiting_.size() >= options_.batch; };
    changed_.wait_for(lock, options_.gather, ready);
    if (waiting_.empty() && !stop_) {
      asleep_ = true;
      changed_.wait(lock, [&] { return stop_ || !waiting_.empty(); });
      asleep_ = false;
      changed_.wait_for(lock, options_.gather, ready);
    }
    urgent_ = false;
  }

  static bool Later(const absl::Status& s) {
    return s.code() == absl::StatusCode::kUnavailable ||
           s.code() == absl::StatusCode::kResourceExhausted;
  }

  void Loop() {
    bool again = false;
    std::chrono::milliseconds back_off{0};
    std::unique_lock lock(mutex_);
    while (true) {
      WaitForRows(lock);
      if (waiting_.empty()) {
        if (stop_) return;
        continue;
      }
      std::vector<Item> items;
      for (size_t n = std::min(options_.batch, waiting_.size()); n > 0; --n) {
        items.push_back(std::move(waiting_.front()));
        waiting_.pop_front();
      }
      lock.unlock();
      std::vector<T> rows;
      rows.reserve(items.size());
      for (const Item& item : items) rows.push_back(item.row);
      const absl::Status status = flush_(rows, again);
      if (!Later(status)) {
        std::vector<absl::Status> answers(items.size(), status);
        if (!status.ok()) {
          for (size_t i = 0; i < items.size(); ++i) answers[i] = flush_({rows[i]}, true);
        }
        uint64_t good = 0;
        for (size_t i = 0; i < items.size(); ++i) {
          good += answers[i].ok() ? 1 : 0;
          if (items[i].done) items[i].done(answers[i]);
        }
        again = false;
        back_off = std::chrono::milliseconds(0);
        lock.lock();
        written_ += good;
        given_up_ += items.size() - good;
        last_ = status;
        continue;
      }
      again = true;
      lock.lock();
      last_ = status;
      if (stop_) {
        given_up_ += items.size();
        lock.unlock();
        for (const Item& item : items) {
          if (item.done) item.done(status);
        }
        lock.lock();
        continue;
      }
      for (auto item = items.rbegin(); item != items.rend(); ++item) {
        waiting_.push_front(std::move(*item));
      }
      back_off = std::clamp(back_off * 2, options_.first_back_off, options_.longest_back_off);
      changed_.wait_for(lock, back_off, [&] { return stop_; });
    }
  }

  const Flush flush_;
  const BatchWriterOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> waiting_;
  bool stop_ = false;
  bool asleep_ = false;  // the writer: it wants to be woken
  bool urgent_ = false;  // somebody waits for a row
  uint64_t written_ = 0;
  uint64_t refused_ = 0;
  uint64_t given_up_ = 0;
  absl::Status last_;
  std::thread thread_;
};

}  // namespace weft::store
