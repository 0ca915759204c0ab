// One thread that owns a state machine: everybody else posts to it.
#pragma once

#include <absl/functional/any_invocable.h>

#include <atomic>
#include <functional>
#include <thread>

#include "libs/base/bounded_queue.h"
#include "libs/base/clock.h"

namespace weft::scheduler {

// Tasks run in order on the loop's thread; after each batch of them, and when its time has come,
// the pump runs.
class EventLoop {
 public:
  using Task = absl::AnyInvocable<void()>;

  // `pump` says when it wants to run again at the latest.
  EventLoop(size_t capacity, size_t max_bytes, std::function<SteadyTime()> pump);
  ~EventLoop();  // Stop()
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  void Start();
  // Runs what is queued, then ends the thread. Twice is legal. Not from the loop.
  void Stop();

  // Thread safe, never blocks. `bytes` is what the task holds on to. False when too many tasks or
  // bytes wait, or the loop has stopped: the task is then destroyed without having run. A task of
  // any size is taken when no other with bytes waits.
  bool Post(Task task, size_t bytes = 0);

  size_t waiting_bytes() const { return bytes_; }

 private:
  void Run();

  struct Entry {
    Task task;
    size_t bytes = 0;
  };

  BoundedQueue<Entry> tasks_;
  const size_t max_bytes_;
  std::atomic<size_t> bytes_{0};  // of the tasks that wait
  const std::function<SteadyTime()> pump_;
  std::thread thread_;
};

}  // namespace weft::scheduler
