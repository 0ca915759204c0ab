#include "libs/base/shutdown.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <ctime>

namespace weft {
namespace {

sigset_t ShutdownSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

void BlockShutdownSignals() {
  const sigset_t set = ShutdownSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);  // a peer that goes away is an error of the write, not of the process
}

ShutdownSignal::ShutdownSignal() : thread_([this] { Listen(); }) {}

ShutdownSignal::~ShutdownSignal() {
  stop_ = true;
  thread_.join();
}

void ShutdownSignal::Listen() {
  const sigset_t set = ShutdownSet();
  // Polling five times a second costs nothing and needs no wake-up pipe to end the thread.
  const timespec tick{0, 200'000'000};
  while (!stop_) {
    const int signal = sigtimedwait(&set, nullptr, &tick);
    if (signal <= 0) continue;
    if (triggered()) _exit(128 + signal);
    Trigger();
  }
}

void ShutdownSignal::Trigger() {
  {
    std::lock_guard lock(mutex_);
    triggered_ = true;
  }
  changed_.notify_all();
}

void ShutdownSignal::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return triggered_; });
}

bool ShutdownSignal::WaitFor(std::chrono::nanoseconds wait) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, wait, [this] { return triggered_; });
}

bool ShutdownSignal::triggered() const {
  std::lock_guard lock(mutex_);
  return triggered_;
}

}  // namespace weft
