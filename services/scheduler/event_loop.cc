#include "services/scheduler/event_loop.h"

#include <algorithm>
#include <utility>

namespace weft::scheduler {
namespace {

// Tasks between two pumps: a flood of events must not keep output back.
constexpr int kBatch = 256;

}  // namespace

EventLoop::EventLoop(size_t capacity, size_t max_bytes, std::function<SteadyTime()> pump)
    : tasks_(capacity), max_bytes_(max_bytes), pump_(std::move(pump)) {}

EventLoop::~EventLoop() { Stop(); }

void EventLoop::Start() {
  thread_ = std::thread([this] { Run(); });
}

void EventLoop::Stop() {
  tasks_.Close();
  if (thread_.joinable()) thread_.join();
}

bool EventLoop::Post(Task task, size_t bytes) {
  const size_t before = bytes_.fetch_add(bytes);
  const bool fits = bytes == 0 || before == 0 || before + bytes <= max_bytes_;
  if (fits && tasks_.TryPush(Entry{std::move(task), bytes})) return true;
  bytes_ -= bytes;
  return false;
}

void EventLoop::Run() {
  bool closed = false;
  SteadyTime wake = Clock::Real().Now();
  while (!closed) {
    const auto wait = std::max(std::chrono::nanoseconds(0), wake - Clock::Real().Now());
    const SteadyTime asked = Clock::Real().Now();
    std::optional<Entry> entry = tasks_.PopFor(wait);
    // An empty answer before the time is over means that the queue is closed and empty.
    closed = !entry && Clock::Real().Now() - asked < wait;
    for (int i = 0; entry && i < kBatch; ++i) {
      bytes_ -= entry->bytes;
      entry->task();
      entry = i + 1 < kBatch ? tasks_.TryPop() : std::nullopt;
    }
    wake = pump_();
  }
}

}  // namespace weft::scheduler
