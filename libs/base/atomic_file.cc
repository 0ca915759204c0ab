#include "libs/base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "libs/base/status.h"

namespace weft {
namespace {

// Room for ordinary users on the file system of an open file; 0 when it cannot be told.
uint64_t FreeBytes(int fd) {
  struct statvfs info {};
  if (fstatvfs(fd, &info) != 0) return 0;
  return static_cast<uint64_t>(info.f_bavail) * static_cast<uint64_t>(info.f_frsize);
}

}  // namespace

absl::StatusOr<AtomicFile> AtomicFile::Create(const std::string& path, uint64_t expected_bytes) {
  std::string part = path + ".XXXXXX";
  const int fd = mkostemp(part.data(), O_CLOEXEC);
  if (fd < 0) {
    return FailedPrecondition("cannot write '{}': {}", path,
                              std::generic_category().message(errno));
  }
  AtomicFile file(path, std::move(part), fd);
  const mode_t mask = umask(0);
  umask(mask);
  if (fchmod(fd, 0666 & ~mask) != 0) return file.Failed("write");
  const uint64_t room = FreeBytes(fd);
  if (room > 0 && room < expected_bytes) {
    return ResourceExhausted("'{}' needs {} bytes, but its file system has room for {}", path,
                             expected_bytes, room);
  }
  return file;
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(part_.c_str());
}

absl::Status AtomicFile::Failed(std::string_view what) const {
  return FailedPrecondition("cannot {} '{}': {}", what, path_,
                            std::generic_category().message(errno));
}

absl::Status AtomicFile::Append(std::string_view bytes) {
  constexpr size_t kMostAtOnce = size_t{1} << 30;
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), std::min(bytes.size(), kMostAtOnce));
    if (written < 0) {
      if (errno == EINTR) continue;
      return Failed("write");
    }
    bytes.remove_prefix(static_cast<size_t>(written));
    bytes_ += static_cast<uint64_t>(written);
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Commit() {
  if (fsync(fd_) != 0) return Failed("write");
  if (std::rename(part_.c_str(), path_.c_str()) != 0) return Failed("rename to");
  close(std::exchange(fd_, -1));
  return absl::OkStatus();
}

}  // namespace weft
