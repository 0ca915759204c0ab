#include "libs/device/thread_team.h"

#include <chrono>

#include "libs/base/status.h"
#include "libs/device/cpu_features.h"

namespace weft {
namespace {

constexpr int kTaskBits = 16;
constexpr uint64_t kTaskMask = (uint64_t{1} << kTaskBits) - 1;

uint64_t NextTask(uint64_t ticket) { return ticket & kTaskMask; }
uint64_t TaskCount(uint64_t ticket) { return (ticket >> kTaskBits) & kTaskMask; }
uint64_t Epoch(uint64_t ticket) { return ticket >> (2 * kTaskBits); }

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadTeam::ThreadTeam(const Options& options)
    : spin_us_(options.threads > AvailableCpus() ? 0 : options.spin_us) {
  WEFT_CHECK(options.threads >= 1);
  for (int rank = 1; rank < options.threads; ++rank) {
    workers_.emplace_back([this, rank] { WorkerLoop(rank); });
  }
}

ThreadTeam::~ThreadTeam() {
  {
    std::lock_guard lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::Run(int64_t tasks, Invoke invoke, void* context) {
  WEFT_CHECK(tasks >= 0 && tasks <= kMaxTasks);
  if (workers_.empty() || tasks <= 1) {
    for (int64_t task = 0; task < tasks; ++task) invoke(context, task, 0);
    return;
  }
  ++fork_joins_;
  invoke_.store(invoke, std::memory_order_relaxed);
  context_.store(context, std::memory_order_relaxed);
  done_.store(0, std::memory_order_relaxed);
  const uint64_t epoch = Epoch(ticket_.load(std::memory_order_relaxed)) + 1;
  // Sequentially consistent with parked_: either a worker about to park sees the new ticket, or
  // this thread sees the worker parked and wakes it.
  ticket_.store((epoch << (2 * kTaskBits)) | (static_cast<uint64_t>(tasks) << kTaskBits));
  if (parked_.load() > 0) {
    { std::lock_guard lock(mutex_); }
    wake_.notify_all();
  }
  Drain(0);
  int spins = 0;
  while (done_.load(std::memory_order_acquire) != tasks) {
    Pause();
    // The last task may be with a worker that has lost its core: let it have this one.
    if (++spins > 2000) std::this_thread::yield();
  }
}

void ThreadTeam::Drain(int rank) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while (NextTask(ticket) < TaskCount(ticket)) {
    // These belong to the ticket's loop if the claim below succeeds: the owner writes them only
    // after every task of the loop before is done.
    const Invoke invoke = invoke_.load(std::memory_order_relaxed);
    void* const context = context_.load(std::memory_order_relaxed);
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel,
                                       std::memory_order_acquire)) {
      continue;
    }
    invoke(context, static_cast<int64_t>(NextTask(ticket)), rank);
    done_.fetch_add(1, std::memory_order_release);
    ticket = ticket_.load(std::memory_order_acquire);
  }
}

void ThreadTeam::WorkerLoop(int rank) {
  const auto has_work = [this] {
    const uint64_t ticket = ticket_.load();
    return NextTask(ticket) < TaskCount(ticket);
  };
  while (!stop_.load(std::memory_order_relaxed)) {
    Drain(rank);
    if (spin_us_ > 0) {
      const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(spin_us_);
      bool found = false;
      do {
        for (int i = 0; i < 64 && !found; ++i) {
          Pause();
          found = has_work();
        }
      } while (!found && std::chrono::steady_clock::now() < until);
      if (found) continue;
    }
    std::unique_lock lock(mutex_);
    parked_.fetch_add(1);
    wake_.wait(lock, [&] { return stop_.load() || has_work(); });
    parked_.fetch_sub(1);
  }
}

}  // namespace weft
