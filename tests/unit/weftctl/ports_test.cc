#include "services/weftctl/supervise/ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libs/base/status.h"
#include "services/weftctl/supervise/lock_file.h"
#include "tests/support/catch.h"

namespace weft::supervise {
namespace {

// A listener on a port that the kernel chose.
struct Listener {
  Listener() {
    fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0);
    REQUIRE(listen(fd, 4) == 0);
    REQUIRE(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    port = ntohs(address.sin_port);
  }
  ~Listener() { close(fd); }
  int fd;
  uint16_t port;
};

}  // namespace

TEST_CASE("CheckPortFree names the purpose, the port and the process that holds it",
          "[supervise]") {
  Listener listener;
  const absl::Status status = CheckPortFree("gateway REST", "127.0.0.1", listener.port);
  REQUIRE_FALSE(status.ok());
  const std::string message(Message(status));
  CHECK(message.find("gateway REST port 127.0.0.1:" + std::to_string(listener.port)) == 0);
  CHECK(message.find("pid " + std::to_string(getpid())) != std::string::npos);
}

TEST_CASE("CheckPortFree accepts a free port and port 0", "[supervise]") {
  uint16_t port = 0;
  { port = Listener().port; }
  CHECK(CheckPortFree("x", "127.0.0.1", port).ok());
  CHECK(CheckPortFree("x", "127.0.0.1", 0).ok());
}

TEST_CASE("LockFile lets one holder in and tells its pid to others", "[supervise]") {
  char name[] = "/tmp/weft-lock-XXXXXX";
  const int fd = mkstemp(name);
  REQUIRE(fd >= 0);
  close(fd);
  {
    auto lock = LockFile::Acquire(name);
    REQUIRE(lock.ok());
    CHECK(LockHolder(name) == getpid());
    auto second = LockFile::Acquire(name);
    REQUIRE_FALSE(second.ok());
    CHECK(second.status().code() == absl::StatusCode::kAlreadyExists);
    CHECK(std::string(Message(second.status())).find(std::to_string(getpid())) !=
          std::string::npos);
  }
  CHECK_FALSE(LockHolder(name).has_value());
  CHECK(LockFile::Acquire(name).ok());
  unlink(name);
}

}  // namespace weft::supervise
