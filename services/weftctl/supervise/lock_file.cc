#include "services/weftctl/supervise/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "libs/base/status.h"

namespace weft::supervise {
namespace {

pid_t ReadPid(int fd) {
  char text[32] = {};
  return pread(fd, text, sizeof(text) - 1, 0) > 0 ? static_cast<pid_t>(std::atoi(text)) : 0;
}

}  // namespace

absl::StatusOr<LockFile> LockFile::Acquire(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  if (fd < 0) return FailedPrecondition("cannot open {}: {}", path, std::strerror(errno));
  LockFile lock(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      return FailedPrecondition("cannot lock {}: {}", path, std::strerror(errno));
    }
    return AlreadyExists("a mesh is running here already (supervisor pid {})", ReadPid(fd));
  }
  WEFT_RETURN_IF_ERROR(lock.WritePid());
  return lock;
}

LockFile::LockFile(LockFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

LockFile& LockFile::operator=(LockFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

LockFile::~LockFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status LockFile::WritePid() {
  const std::string text = fmt::format("{}\n", getpid());
  if (ftruncate(fd_, 0) != 0 ||
      pwrite(fd_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return FailedPrecondition("cannot write the lock file: {}", std::strerror(errno));
  }
  return absl::OkStatus();
}

std::optional<pid_t> LockHolder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::optional<pid_t> holder;
  if (flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    if (const pid_t pid = ReadPid(fd); pid > 0) holder = pid;
  }
  close(fd);
  return holder;
}

}  // namespace weft::supervise
