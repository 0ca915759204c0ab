// A team of threads for the many short parallel loops of a forward step.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace weft {

// One owner thread calls ParallelFor and takes part in the work. Tasks are claimed one by one, so a
// worker that the operating system has taken off its core delays nobody who still has work, and a
// sleeping one is never waited for. Which thread runs a task must not matter to its result.
//
// Workers spin for a moment after a loop (the next one is usually microseconds away), then park.
// They do not spin at all when the team has more threads than the process has processors.
class ThreadTeam {
 public:
  struct Options {
    int threads = 1;    // the owner included
    int spin_us = 100;  // before parking
  };
  explicit ThreadTeam(const Options& options);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Loops so far that were handed to the whole team. For the owner thread.
  uint64_t fork_joins() const { return fork_joins_; }

  // The most tasks one loop may have.
  static constexpr int64_t kMaxTasks = (int64_t{1} << 16) - 1;

  // Calls fn(task, rank) for every task in [0, tasks), rank in [0, threads()) telling which member
  // runs it; returns when all are done. fn must not throw or call ParallelFor.
  template <typename Fn>
  void ParallelFor(int64_t tasks, Fn&& fn) {
    using Body = std::remove_reference_t<Fn>;
    Run(
        tasks,
        [](void* context, int64_t task, int rank) { (*static_cast<Body*>(context))(task, rank); },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

 private:
  using Invoke = void (*)(void* context, int64_t task, int rank);

  void Run(int64_t tasks, Invoke invoke, void* context);
  void WorkerLoop(int rank);
  // Claims and runs tasks of the loop in `ticket_` until none is left.
  void Drain(int rank);

  // epoch (32 bits) | tasks (16 bits) | next task (16 bits). One word, so that a claim succeeds
  // only for the very loop whose task count and body the claimer has read.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<Invoke> invoke_{nullptr};
  std::atomic<void*> context_{nullptr};
  alignas(64) std::atomic<int64_t> done_{0};
  alignas(64) std::atomic<int> parked_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  int spin_us_;
  uint64_t fork_joins_ = 0;
  std::vector<std::thread> workers_;
};

}  // namespace weft
