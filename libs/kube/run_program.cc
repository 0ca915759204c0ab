#include "libs/kube/run_program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "libs/base/status.h"

namespace weft::kube {

absl::StatusOr<std::string> RunProgram(const std::vector<std::string>& command,
                                       const std::vector<std::string>& environment) {
  constexpr size_t kLimit = 1 << 20;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Unavailable("{}: no pipe", command[0]);
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string name(*entry, std::strcspn(*entry, "=") + 1);
    bool replaced = false;
    for (const std::string& ours : environment) replaced = replaced || ours.starts_with(name);
    if (!replaced) merged.emplace_back(*entry);
  }
  merged.insert(merged.end(), environment.begin(), environment.end());
  std::vector<char*> argv, envp;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  for (const std::string& entry : merged) envp.push_back(const_cast<char*>(entry.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t child = -1;
  const int error =
      posix_spawnp(&child, command[0].c_str(), &actions, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    return Unavailable("cannot run {}: {}", command[0], std::strerror(error));
  }
  std::string output;
  char buffer[4096];
  for (;;) {
    const ssize_t got = read(ends[0], buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || output.size() > kLimit) break;
    output.append(buffer, static_cast<size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return Unavailable("{} failed; it signs in to the cluster", command[0]);
  }
  if (output.size() > kLimit) return Unavailable("{} prints too much", command[0]);
  return output;
}

}  // namespace weft::kube
