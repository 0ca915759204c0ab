// The writing end of the log.
#pragma once

#include <absl/status/statusor.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace weft::telemetry {

struct LogSinkOptions {
  std::string file = {};  // appended to, made with mode 0640; empty: stderr
  size_t max_queued_bytes = size_t{8} << 20;
};

// Thread safe. A full disk, a closed descriptor or a reader that does not read costs lines, never
// time: Write queues or drops, and one thread writes. After an error it goes on trying with the
// lines that come later; a line that was cut by the error is ended before the next.
class LogSink {
 public:
  // Fails only when the file cannot be opened.
  static absl::StatusOr<std::shared_ptr<LogSink>> Open(const LogSinkOptions& options);
  // Writes to a descriptor that it does not own.
  static std::shared_ptr<LogSink> ForDescriptor(int fd, const LogSinkOptions& options);
  ~LogSink();  // as Flush for at most 2 s
  LogSink(const LogSink&) = delete;
  LogSink& operator=(const LogSink&) = delete;

  // `line` ends with '\n' and has no other.
  void Write(std::string_view line);
  // True when all that was queued before the call has been tried.
  bool Flush(std::chrono::nanoseconds wait);

  uint64_t written() const { return written_; }
  uint64_t dropped() const { return dropped_; }

 private:
  LogSink(int fd, bool owned, const LogSinkOptions& options);
  void Run();
  // Writes without blocking for longer than the destructor allows. Returns the bytes written.
  size_t Put(std::string_view text);
  // Lines of `text` that were not written whole.
  uint64_t WriteOut(std::string_view text);

  const int fd_;
  const bool owned_;
  const size_t max_queued_bytes_;
  size_t chunk_bytes_;
  bool cut_ = false;  // the last write ended inside a line; the writer's thread only
  std::atomic<uint64_t> written_ = 0;
  std::atomic<uint64_t> dropped_ = 0;
  std::atomic<bool> abandon_ = false;  // the time for flushing is over

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string queue_;
  bool busy_ = false;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace weft::telemetry
