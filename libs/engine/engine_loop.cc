#include "libs/engine/engine_loop.h"

#include <utility>

#include "libs/base/status.h"

namespace weft::engine {

EngineLoop::EngineLoop(std::unique_ptr<Engine> engine, StepSink sink)
    : engine_(std::move(engine)), sink_(std::move(sink)) {
  WEFT_CHECK(engine_ != nullptr);
  WEFT_CHECK(sink_ != nullptr);
}

EngineLoop::~EngineLoop() { Stop(); }

void EngineLoop::Start() {
  std::lock_guard lock(mutex_);
  if (thread_.joinable() || stopping_.load()) return;
  thread_ = std::thread([this] { Run(); });
}

void EngineLoop::BeginDrain() {
  draining_.store(true, std::memory_order_release);
  engine_->RefuseNew();
  engine_->Wake();
}

bool EngineLoop::WaitDrained(std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  // The engine is idle before the sink has seen the last finishes; `delivering_` covers the gap.
  return drained_.wait_for(lock, timeout, [this] { return !delivering_ && engine_->idle(); });
}

void EngineLoop::Stop() {
  BeginDrain();
  stopping_.store(true);
  engine_->CancelAll();
  engine_->Wake();
  std::thread thread;
  {
    std::lock_guard lock(mutex_);
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

void EngineLoop::Run() {
  StepOutput output;
  // A hang-up between waits is impossible: Wake() is remembered. The time-out only bounds how long
  // a waiter in WaitDrained can be behind.
  constexpr std::chrono::milliseconds kIdleWait{1000};
  while (true) {
    if (engine_->WaitForWork(kIdleWait)) {
      {
        std::lock_guard lock(mutex_);
        delivering_ = true;
      }
      engine_->Step(&output);
      if (!output.idle()) sink_(output);
      const bool gone = !output.model_gone.ok();
      {
        std::lock_guard lock(mutex_);
        delivering_ = false;
      }
      if (gone) return;
    }
    drained_.notify_all();
    if (stopping_.load() && engine_->idle()) return;
  }
}

bool ProgressWatchdog::Hangs(const EngineProgress& progress, SteadyTime now) {
  const bool moved = progress.steps != last_.steps || progress.layers != last_.layers;
  last_ = progress;
  if (!progress.busy || moved || !since_.has_value()) {
    since_ = now;
    return false;
  }
  return now - *since_ >= limit_;
}

}  // namespace weft::engine
