// What a service prints goes line by line to its log file and, with a prefix, to the console.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace weft::supervise {

// Owns the log file and the console prefix of one service across its restarts. A disk that is full
// loses log lines (counted, and said once on the console) and never stops the service: the pipe is
// read whatever happens to the file. Not thread safe.
class LogPipe {
 public:
  struct Options {
    std::string path;     // the log file; its folder exists
    std::string prefix;   // "gateway   | "
    bool console = true;  // also print to console_fd
    int console_fd = 1;
    uint64_t rotate_bytes = 64ull << 20;  // then path becomes path.1
  };
  explicit LogPipe(Options options);
  ~LogPipe();
  LogPipe(const LogPipe&) = delete;
  LogPipe& operator=(const LogPipe&) = delete;

  // Takes the reading end of a new process's output; closes the former one after reading it empty.
  void Attach(int read_fd);
  int fd() const { return fd_; }  // -1: nothing to read

  // Reads what is there without blocking. False at the end of the stream (the fd is then closed).
  bool Read();

  // A line of the supervisor's own about this service, to both places.
  void Note(std::string_view line);

  // The newest lines, oldest first, for an error message.
  const std::deque<std::string>& recent() const { return recent_; }
  uint64_t dropped_lines() const { return dropped_; }

 private:
  void Line(std::string_view line);
  void WriteFile(std::string_view line);
  void Open();

  const Options options_;
  int fd_ = -1;
  int file_ = -1;
  uint64_t file_bytes_ = 0;
  uint64_t dropped_ = 0;
  bool complained_ = false;
  std::string partial_;
  std::deque<std::string> recent_;
};

}  // namespace weft::supervise
