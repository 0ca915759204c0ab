// Runs an engine on a thread of its own and hands each step's output to a sink.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "libs/engine/engine.h"

namespace weft::engine {

// Called on the engine's thread after every step that has something to tell; it must not block
// (the engine never waits for a peer) and must not throw. The output is valid during the call. One
// that says that the model is gone is the last.
using StepSink = std::function<void(const StepOutput&)>;

// Thread safe. Order: Start, then any of the others; Stop is legal before Start and twice.
class EngineLoop {
 public:
  EngineLoop(std::unique_ptr<Engine> engine, StepSink sink);
  ~EngineLoop();  // Stop()
  EngineLoop(const EngineLoop&) = delete;
  EngineLoop& operator=(const EngineLoop&) = delete;

  void Start();

  // Submit refuses from now on, what was submitted runs to its end. Does not block.
  void BeginDrain();
  bool draining() const { return draining_.load(std::memory_order_acquire); }
  // Blocks until nothing is left or the time is over; true when nothing is left. All finishes have
  // then been given to the sink.
  bool WaitDrained(std::chrono::nanoseconds timeout);

  // Cancels everything (the sink gets the kCancelled finishes), ends the thread and joins it.
  // Blocks for at most the step that runs. Not from the sink.
  void Stop();

  Engine& engine() { return *engine_; }
  const Engine& engine() const { return *engine_; }
  EngineProgress progress() const { return engine_->progress(); }

 private:
  void Run();

  const std::unique_ptr<Engine> engine_;
  const StepSink sink_;
  std::atomic<bool> draining_{false};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;  // guards what follows
  std::condition_variable drained_;
  bool delivering_ = false;  // between the beginning of a step and the end of its sink call
  std::thread thread_;
};

// Decides from successive observations whether the engine hangs: busy, and neither a step nor a
// layer finished for `limit`. Not thread safe; one observer owns it.
class ProgressWatchdog {
 public:
  explicit ProgressWatchdog(std::chrono::nanoseconds limit) : limit_(limit) {}
  // True while the engine hangs.
  bool Hangs(const EngineProgress& progress, SteadyTime now);

 private:
  const std::chrono::nanoseconds limit_;
  EngineProgress last_;
  std::optional<SteadyTime> since_;
};

}  // namespace weft::engine
