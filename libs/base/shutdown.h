// SIGTERM and SIGINT as an event: a service waits for it in its main thread, then drains.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace weft {

// Blocks SIGTERM and SIGINT in the calling thread and all it makes afterwards, and ignores SIGPIPE.
// Call it first in main, before any thread exists. config::ServiceMain does.
void BlockShutdownSignals();

// One thread waits for the signals. Thread safe. A second signal while the first is being handled
// ends the process at once with exit code 128 + signal: a person who presses Ctrl-C twice means it.
class ShutdownSignal {
 public:
  ShutdownSignal();  // the signals must be blocked
  ~ShutdownSignal();
  ShutdownSignal(const ShutdownSignal&) = delete;
  ShutdownSignal& operator=(const ShutdownSignal&) = delete;

  // Blocks until a signal comes or Trigger is called.
  void Wait();
  // True when it came within the time.
  bool WaitFor(std::chrono::nanoseconds wait);
  bool triggered() const;
  // As if SIGTERM had come: for tests and for a service that cannot go on.
  void Trigger();

 private:
  void Listen();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool triggered_ = false;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace weft
