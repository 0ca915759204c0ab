#include "services/weftctl/supervise/ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "libs/base/status.h"

namespace weft::supervise {
namespace {

namespace fs = std::filesystem;

// The inodes of sockets that listen on the port, from one of /proc/net/tcp and /proc/net/tcp6
// (columns: sl local_address rem_address st … uid timeout inode; state 0A is LISTEN).
void CollectInodes(const char* table, uint16_t port, std::set<std::string>& inodes) {
  std::ifstream file(table);
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
    fields >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >>
        timeout >> inode;
    const size_t colon = local.rfind(':');
    if (state != "0A" || colon == std::string::npos) continue;
    if (std::strtoul(local.c_str() + colon + 1, nullptr, 16) == port) inodes.insert(inode);
  }
}

}  // namespace

std::string FindListener(uint16_t port) {
  std::set<std::string> inodes;
  CollectInodes("/proc/net/tcp", port, inodes);
  CollectInodes("/proc/net/tcp6", port, inodes);
  if (inodes.empty()) return "";
  std::error_code error;
  for (fs::directory_iterator process("/proc", error), end; !error && process != end;
       process.increment(error)) {
    const std::string pid = process->path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    std::error_code ignored;
    for (fs::directory_iterator fd(process->path() / "fd", ignored); !ignored && fd != end;
         fd.increment(ignored)) {
      std::error_code unreadable;
      const std::string target = fs::read_symlink(fd->path(), unreadable);
      if (unreadable || target.rfind("socket:[", 0) != 0) continue;
      if (!inodes.contains(target.substr(8, target.size() - 9))) continue;
      std::ifstream comm(process->path() / "comm");
      std::string name;
      std::getline(comm, name);
      return fmt::format("{} (pid {})", name.empty() ? "a process" : name, pid);
    }
  }
  return "";
}

absl::Status CheckPortFree(const PortClaim& claim) {
  const auto& [purpose, key, host, port, path] = claim;
  if (!path.empty() || port == 0) return absl::OkStatus();  // the kernel will choose
  sockaddr_storage address{};
  socklen_t length = 0;
  const std::string literal = host == "localhost" ? "127.0.0.1" : host;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address);
  if (inet_pton(AF_INET, literal.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    length = sizeof(sockaddr_in);
  } else if (inet_pton(AF_INET6, literal.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    length = sizeof(sockaddr_in6);
  } else {
    return absl::OkStatus();  // a name: the service itself resolves it and reports what it finds
  }
  const int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::OkStatus();
  const int on = 1;
  // As the services do: sockets in TIME_WAIT are no obstacle, listeners are.
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const int failed = bind(fd, reinterpret_cast<sockaddr*>(&address), length);
  const int error = errno;
  close(fd);
  if (failed == 0) return absl::OkStatus();
  if (error != EADDRINUSE) {
    return FailedPrecondition("{} port {}:{} cannot be used: {}", purpose, host, port,
                              std::strerror(error));
  }
  const std::string owner = FindListener(port);
  return FailedPrecondition("{} port {}:{} is taken by {}; {} can name another", purpose, host,
                            port, owner.empty() ? "another process" : owner, key);
}

}  // namespace weft::supervise
