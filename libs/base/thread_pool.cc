#include "libs/base/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

namespace weft {

ThreadPool::ThreadPool(std::string name, size_t threads, size_t queue_capacity)
    : tasks_(queue_capacity) {
  name.resize(std::min<size_t>(name.size(), 15));  // the kernel's limit
  for (size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this, name] {
      pthread_setname_np(pthread_self(), name.c_str());
      while (auto task = tasks_.Pop()) (*task)();
    });
  }
}

ThreadPool::~ThreadPool() {
  tasks_.Close();
  for (std::thread& thread : threads_) thread.join();
}

bool ThreadPool::TrySubmit(std::function<void()> task) { return tasks_.TryPush(std::move(task)); }

}  // namespace weft
