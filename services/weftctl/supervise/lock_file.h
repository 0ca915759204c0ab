// One mesh per state directory: the lock that `up`, `down` and `status` agree on.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sys/types.h>

#include <optional>
#include <string>

namespace weft::supervise {

// Holds an flock on <home>/run/supervisor.lock, which contains the holder's pid. The kernel lets go
// of it when the process ends in whatever way, so that a lock is never stale.
class LockFile {
 public:
  // ALREADY_EXISTS with the pid of the holder when another supervisor runs there.
  static absl::StatusOr<LockFile> Acquire(const std::string& path);
  LockFile(LockFile&& other) noexcept;
  LockFile& operator=(LockFile&& other) noexcept;
  ~LockFile();

  // Writes this process's pid into the file (again after a fork).
  absl::Status WritePid();

 private:
  explicit LockFile(int fd) : fd_(fd) {}
  int fd_ = -1;
};

// The pid of the supervisor that holds the lock now, or nothing when none does.
std::optional<pid_t> LockHolder(const std::string& path);

}  // namespace weft::supervise
