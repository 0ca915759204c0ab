#include "tests/support/process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "libs/base/status.h"

namespace weft::testing {

Process::Process(std::vector<std::string> argv, const std::string& log,
                 const std::vector<std::pair<std::string, std::string>>& environment) {
  std::vector<char*> pointers;
  for (std::string& arg : argv) pointers.push_back(arg.data());
  pointers.push_back(nullptr);
  pid_ = fork();
  WEFT_CHECK(pid_ >= 0);
  if (pid_ != 0) return;
  const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  dup2(fd, 1);
  dup2(fd, 2);
  for (const auto& [key, value] : environment) setenv(key.c_str(), value.c_str(), 1);
  execv(pointers[0], pointers.data());
  _exit(127);
}

Process::~Process() {
  if (!running()) return;
  kill(pid_, SIGKILL);
  Wait(std::chrono::seconds(10));
}

void Process::Signal(int signal) {
  if (running()) kill(pid_, signal);
}

bool Process::running() { return !Wait(std::chrono::milliseconds(0)); }

std::optional<int> Process::Wait(std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (!status_) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      break;
    }
    if (std::chrono::steady_clock::now() >= until) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return status_;
}

TempDir::TempDir() {
  char name[] = "/tmp/weft-test-XXXXXX";  // short: socket paths hold 107 bytes
  WEFT_CHECK(mkdtemp(name) != nullptr);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string BinaryDir() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
}

}  // namespace weft::testing
