// One thread that owns a state machine: everybody else posts to it.
#pragma once

#include <absl/functional/any_invocable.h>

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
  EventLoop(size_t capacity, std::function<SteadyTime()> pump);
  ~EventLoop();  // Stop()
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  void Start();
  // Runs what is queued, then ends the thread. Twice is legal. Not from the loop.
  void Stop();

  // Thread safe, never blocks. False when the queue is full or the loop has stopped: the task is
  // then destroyed without having run.
  bool Post(Task task);

 private:
  void Run();

  BoundedQueue<Task> tasks_;
  const std::function<SteadyTime()> pump_;
  std::thread thread_;
};

}  // namespace weft::scheduler
