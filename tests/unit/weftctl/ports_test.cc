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

PortClaim Claim(uint16_t port) {
  return *ParseAddress("gateway REST", "gateway.listen", "127.0.0.1:" + std::to_string(port));
}

}  // namespace

TEST_CASE("CheckPortFree names the purpose, the port and the process that holds it",
          "[supervise]") {
  Listener listener;
  const absl::Status status = CheckPortFree(Claim(listener.port));
  REQUIRE_FALSE(status.ok());
  const std::string message(Message(status));
  CHECK(message.find("gateway REST port 127.0.0.1:" + std::to_string(listener.port)) == 0);
  CHECK(message.find("pid " + std::to_string(getpid())) != std::string::npos);
  CHECK(message.find("gateway.listen") != std::string::npos);
}

TEST_CASE("CheckPortFree accepts a free port and port 0", "[supervise]") {
  uint16_t port = 0;
  { port = Listener().port; }
  CHECK(CheckPortFree(Claim(port)).ok());
  CHECK(CheckPortFree(Claim(0)).ok());
}

TEST_CASE("ParseAddress takes IPv4, names, bracketed IPv6 and sockets, and nothing else",
          "[supervise]") {
  const auto parse = [](const char* text) { return ParseAddress("x", "k", text); };
  CHECK(parse("127.0.0.1:80")->port == 80);
  CHECK(parse("localhost:8080")->host == "localhost");
  CHECK(parse("[::1]:443")->host == "::1");
  CHECK(parse("unix:/run/x.sock")->socket == "/run/x.sock");
  for (const char* bad : {"", "80", "host:", "host:99999", "host:8o"}) CHECK_FALSE(parse(bad).ok());
}

TEST_CASE("CheckDistinct finds the same port of overlapping hosts", "[supervise]") {
  const auto both = [](const char* a, const char* b) {
    const PortClaim claims[] = {*ParseAddress("a", "a.listen", a),
                                *ParseAddress("b", "b.listen", b)};
    const PortClaim turned[] = {claims[1], claims[0]};
    const bool fits = CheckDistinct(claims).ok();
    CHECK(CheckDistinct(turned).ok() == fits);
    return fits;
  };
  CHECK(both("127.0.0.1:80", "127.0.0.1:81"));
  CHECK(both("127.0.0.1:80", "127.0.0.2:80"));
  CHECK(both("127.0.0.1:80", "[::1]:80"));
  CHECK(both("0.0.0.0:80", "[::1]:80"));
  CHECK(both("127.0.0.1:0", "127.0.0.1:0"));
  CHECK(both("unix:/a", "unix:/b"));
  CHECK(both("unix:/a", "127.0.0.1:80"));
  CHECK_FALSE(both("127.0.0.1:80", "127.0.0.1:80"));
  CHECK_FALSE(both("127.0.0.1:80", "localhost:80"));
  CHECK_FALSE(both("127.0.0.1:80", "0.0.0.0:80"));
  CHECK_FALSE(both("127.0.0.1:80", "[::]:80"));
  CHECK_FALSE(both("[::1]:80", "[0:0::1]:80"));
  CHECK_FALSE(both("[::1]:80", "localhost:80"));
  CHECK_FALSE(both("unix:/a", "unix:/a"));
  CHECK(CheckDistinct({}).ok());
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
