// A fixed set of threads for blocking work (disk, database, tokenising long prompts).
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/bounded_queue.h"

namespace weft {

// Thread safe. The destructor finishes what is queued.
class ThreadPool {
 public:
  ThreadPool(std::string name, size_t threads, size_t queue_capacity);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // False when the queue is full. The task must not throw.
  bool TrySubmit(std::function<void()> task);

 private:
  BoundedQueue<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
};

}  // namespace weft
