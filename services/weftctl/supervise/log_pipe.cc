#include "services/weftctl/supervise/log_pipe.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace weft::supervise {
namespace {

constexpr size_t kRecentLines = 20;
constexpr size_t kMostLineBytes = 64 * 1024;

// One line in one system call, so that lines of several services do not mix. False on error or on
// a short write.
bool WriteLine(int fd, std::string_view prefix, std::string_view line) {
  char newline = '\n';
  iovec parts[3] = {{const_cast<char*>(prefix.data()), prefix.size()},
                    {const_cast<char*>(line.data()), line.size()},
                    {&newline, 1}};
  ssize_t wrote = 0;
  do {
    wrote = writev(fd, parts, 3);
  } while (wrote < 0 && errno == EINTR);
  return wrote == static_cast<ssize_t>(prefix.size() + line.size() + 1);
}

}  // namespace

LogPipe::LogPipe(Options options) : options_(std::move(options)) { Open(); }

LogPipe::~LogPipe() {
  if (fd_ >= 0) close(fd_);
  if (file_ >= 0) close(file_);
}

void LogPipe::Open() {
  file_ = open(options_.path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  struct stat info {};
  file_bytes_ = file_ >= 0 && fstat(file_, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

void LogPipe::Attach(int read_fd) {
  if (fd_ >= 0) {
    Read();
    if (fd_ >= 0) close(fd_);
  }
  partial_.clear();
  fd_ = read_fd;
  fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_NONBLOCK);
}

bool LogPipe::Read() {
  if (fd_ < 0) return false;
  char buffer[16384];
  // Bounded, so that one service that floods its log does not starve the others.
  for (int round = 0; round < 64; ++round) {
    const ssize_t got = read(fd_, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (got <= 0) {
      if (!partial_.empty()) Line(std::exchange(partial_, {}));
      close(fd_);
      fd_ = -1;
      return false;
    }
    std::string_view rest(buffer, static_cast<size_t>(got));
    for (size_t end; (end = rest.find('\n')) != std::string_view::npos;
         rest.remove_prefix(end + 1)) {
      partial_.append(rest.substr(0, end));
      Line(partial_);
      partial_.clear();
    }
    partial_.append(rest);
    if (partial_.size() > kMostLineBytes) Line(std::exchange(partial_, {}));
  }
  return true;
}

void LogPipe::Note(std::string_view line) { Line(fmt::format("-- {}", line)); }

void LogPipe::Line(std::string_view line) {
  recent_.emplace_back(line.substr(0, 2000));
  if (recent_.size() > kRecentLines) recent_.pop_front();
  WriteFile(line);
  if (options_.console) WriteLine(options_.console_fd, options_.prefix, line);
}

void LogPipe::WriteFile(std::string_view line) {
  if (file_bytes_ > options_.rotate_bytes && file_ >= 0) {
    close(file_);
    std::rename(options_.path.c_str(), (options_.path + ".1").c_str());
    Open();
  }
  if (file_ < 0) Open();
  errno = 0;
  if (file_ >= 0 && WriteLine(file_, "", line)) {
    file_bytes_ += line.size() + 1;
    complained_ = false;
    return;
  }
  ++dropped_;
  if (!complained_) {
    complained_ = true;
    WriteLine(STDERR_FILENO, options_.prefix,
              fmt::format("-- log lines are lost: {}: {}", options_.path,
                          errno == 0 ? "short write, the disk is full" : std::strerror(errno)));
  }
}

}  // namespace weft::supervise
