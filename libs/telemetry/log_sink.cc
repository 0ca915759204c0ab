#include "libs/telemetry/log_sink.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "libs/base/status.h"

namespace weft::telemetry {

absl::StatusOr<std::shared_ptr<LogSink>> LogSink::Open(const LogSinkOptions& options) {
  if (options.file.empty()) return ForDescriptor(STDERR_FILENO, options);
  const int fd = open(options.file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (fd < 0) {
    return FailedPrecondition("log_file: cannot open '{}': {}", options.file, std::strerror(errno));
  }
  return std::shared_ptr<LogSink>(new LogSink(fd, true, options));
}

std::shared_ptr<LogSink> LogSink::ForDescriptor(int fd, const LogSinkOptions& options) {
  return std::shared_ptr<LogSink>(new LogSink(fd, false, options));
}

LogSink::LogSink(int fd, bool owned, const LogSinkOptions& options)
    : fd_(fd), owned_(owned), max_queued_bytes_(options.max_queued_bytes) {
  struct stat info {};
  const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  // A pipe that poll calls writable takes PIPE_BUF bytes without blocking, and no more for sure.
  chunk_bytes_ = regular ? size_t{1} << 20 : PIPE_BUF;
  thread_ = std::thread([this] { Run(); });
}

LogSink::~LogSink() {
  Flush(std::chrono::seconds(2));
  abandon_ = true;
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
  if (owned_) close(fd_);
}

void LogSink::Write(std::string_view line) {
  {
    std::lock_guard lock(mutex_);
    if (queue_.size() + line.size() > max_queued_bytes_) {
      ++dropped_;
      return;
    }
    queue_ += line;
  }
  changed_.notify_all();
}

bool LogSink::Flush(std::chrono::nanoseconds wait) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, wait, [this] { return queue_.empty() && !busy_; });
}

void LogSink::Run() {
  // A closed pipe must give EPIPE here, not a signal to the process.
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);

  std::string batch;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (queue_.empty()) return;
    batch.clear();
    batch.swap(queue_);
    busy_ = true;
    lock.unlock();
    const auto lines = static_cast<uint64_t>(std::count(batch.begin(), batch.end(), '\n'));
    const uint64_t lost = WriteOut(batch);
    dropped_ += lost;
    written_ += lines - lost;
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

size_t LogSink::Put(std::string_view text) {
  size_t done = 0;
  while (done < text.size()) {
    pollfd ready{fd_, POLLOUT, 0};
    const int polled = poll(&ready, 1, 100);
    if (polled == 0 && !abandon_) continue;  // a reader that is slow; Write drops meanwhile
    if (polled == 0) break;
    const ssize_t n = write(fd_, text.data() + done, std::min(chunk_bytes_, text.size() - done));
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

uint64_t LogSink::WriteOut(std::string_view text) {
  // End a broken line first, so that this one is not glued to it.
  if (cut_ && Put("\n") == 1) cut_ = false;
  const size_t done = cut_ ? 0 : Put(text);
  if (done == text.size()) return 0;
  cut_ = cut_ || (done > 0 && text[done - 1] != '\n');
  return static_cast<uint64_t>(
      std::count(text.begin() + static_cast<ptrdiff_t>(done), text.end(), '\n'));
}

}  // namespace weft::telemetry
