// Child processes of a test.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace weft::testing {

// Killed with SIGKILL when it goes out of scope.
class Process {
 public:
  // Both output streams are appended to `log`. argv[0] is a path.
  Process(std::vector<std::string> argv, const std::string& log,
          const std::vector<std::pair<std::string, std::string>>& environment = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void Signal(int signal);
  bool running();
  // The exit code, or 128 + the signal that ended it; nullopt: it still runs.
  std::optional<int> Wait(std::chrono::milliseconds limit);
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  std::optional<int> status_;
};

// A folder that is deleted with its content.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The folder of the binaries that belong to this test.
std::string BinaryDir();

}  // namespace weft::testing
