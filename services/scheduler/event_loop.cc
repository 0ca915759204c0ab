#include "services/scheduler/event_loop.h"

#include <algorithm>
#include <utility>

namespace weft::scheduler {
namespace {

// Tasks between two pumps: a flood of events must not keep output back.
constexpr int kBatch = 256;

}  // namespace

EventLoop::EventLoop(size_t capacity, std::function<SteadyTime()> pump)
    : tasks_(capacity), pump_(std::move(pump)) {}

EventLoop::~EventLoop() { Stop(); }

void EventLoop::Start() {
  thread_ = std::thread([this] { Run(); });
}

void EventLoop::Stop() {
  tasks_.Close();
  if (thread_.joinable()) thread_.join();
}

bool EventLoop::Post(Task task) { return tasks_.TryPush(std::move(task)); }

void EventLoop::Run() {
  bool closed = false;
  SteadyTime wake = Clock::Real().Now();
  while (!closed) {
    const auto wait = std::max(std::chrono::nanoseconds(0), wake - Clock::Real().Now());
    const SteadyTime asked = Clock::Real().Now();
    std::optional<Task> task = tasks_.PopFor(wait);
    // An empty answer before the time is over means that the queue is closed and empty.
    closed = !task && Clock::Real().Now() - asked < wait;
    for (int i = 0; task && i < kBatch; ++i) {
      (*task)();
      task = i + 1 < kBatch ? tasks_.TryPop() : std::nullopt;
    }
    wake = pump_();
  }
}

}  // namespace weft::scheduler
