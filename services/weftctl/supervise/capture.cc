#include "services/weftctl/supervise/capture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "libs/base/status.h"

namespace weft::supervise {
namespace {

constexpr size_t kMostBytes = 4 << 20;

struct Pipe {
  Pipe() {
    if (pipe2(ends, O_CLOEXEC) != 0) ends[0] = ends[1] = -1;
  }
  ~Pipe() {
    CloseEnd(0);
    CloseEnd(1);
  }
  void CloseEnd(int i) {
    if (ends[i] >= 0) close(ends[i]);
    ends[i] = -1;
  }
  int ends[2];
};

// Reads both pipes until they end. False when the deadline came first.
bool ReadAll(Pipe& out, Pipe& err, Captured& result,
             std::chrono::steady_clock::time_point deadline) {
  Pipe* pipes[2] = {&out, &err};
  std::string* texts[2] = {&result.out, &result.err};
  while (out.ends[0] >= 0 || err.ends[0] >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd fds[2] = {{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}};
    poll(fds, 2, static_cast<int>(left.count()));
    for (int i = 0; i < 2; ++i) {
      if (fds[i].revents == 0) continue;
      char buffer[8192];
      const ssize_t got = read(fds[i].fd, buffer, sizeof(buffer));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        pipes[i]->CloseEnd(0);
      } else if (texts[i]->size() < kMostBytes) {
        texts[i]->append(buffer, static_cast<size_t>(got));
      }
    }
  }
  return true;
}

}  // namespace

absl::StatusOr<Captured> Capture(const std::vector<std::string>& argv,
                                 std::chrono::milliseconds timeout) {
  Pipe out, err;
  if (out.ends[0] < 0 || err.ends[0] < 0) return Internal("cannot make a pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.ends[1], STDERR_FILENO);
  std::vector<std::string> words = argv;
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return NotFound("cannot execute {}: {}", argv[0], std::strerror(failed));
  out.CloseEnd(1);
  err.CloseEnd(1);
  Captured result;
  const bool ended = ReadAll(out, err, result, std::chrono::steady_clock::now() + timeout);
  if (!ended) kill(pid, SIGKILL);
  int wait_status = 0;
  while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
  }
  if (!ended) return DeadlineExceeded("{} did not end", argv[0]);
  result.exit_code =
      WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
  return result;
}

}  // namespace weft::supervise
