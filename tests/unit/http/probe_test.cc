#include "libs/http/probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>

#include "libs/base/status.h"
#include "libs/http/admin_server.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using weft::http::AdminServer;
using weft::http::CheckHealth;
using weft::http::HttpGet;

namespace {

std::string ErrorOf(const std::string& admin_listen, const std::string& url) {
  const absl::Status status = CheckHealth(admin_listen, url, 500ms);
  REQUIRE(!status.ok());
  return weft::ToString(status);
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("HttpGet gives up on a server that accepts and never answers", "[http]") {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0);
  REQUIRE(listen(fd, 4) == 0);
  REQUIRE(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  const uint16_t port = ntohs(address.sin_port);
  const auto start = std::chrono::steady_clock::now();
  CHECK(HttpGet("127.0.0.1", port, "/ready", 100ms).status == 0);
  CHECK(std::chrono::steady_clock::now() - start < 5s);
  close(fd);
  CHECK(HttpGet("127.0.0.1", port, "/ready", 5s).status == 0);  // refused
}

TEST_CASE("CheckHealth asks /health of the admin address, or the URL", "[http]") {
  std::atomic<bool> healthy = true;
  weft::http::AdminCallbacks callbacks;
  callbacks.healthy = [&](std::string* detail) {
    if (!healthy) *detail = "it does not move";
    return healthy.load();
  };
  callbacks.ready = [](std::string*) { return false; };
  auto server = AdminServer::Start({}, callbacks);
  REQUIRE(server.ok());
  const std::string port = std::to_string((*server)->port());
  CHECK(CheckHealth("127.0.0.1:" + port, "").ok());
  CHECK(CheckHealth("0.0.0.0:" + port, "").ok());
  CHECK(CheckHealth("localhost:" + port, "").ok());
  CHECK(CheckHealth("1.2.3.4:5", "http://localhost:" + port + "/health").ok());
  CHECK(Has(ErrorOf("127.0.0.1:" + port, "http://127.0.0.1:" + port + "/ready"), "503"));
  CHECK(Has(ErrorOf("127.0.0.1:" + port, "http://127.0.0.1:" + port + "/other"), "404"));
  healthy = false;
  CHECK(Has(ErrorOf("127.0.0.1:" + port, ""), "it does not move"));
}

TEST_CASE("CheckHealth says what is wrong with a URL", "[http]") {
  CHECK(Has(ErrorOf("", "https://127.0.0.1/health"), "must be http://"));
  CHECK(Has(ErrorOf("", "http://127.0.0.1:0/health"), "port"));
  CHECK(Has(ErrorOf("", "http://127.0.0.1:70000/health"), "port"));
  CHECK(Has(ErrorOf("", "http://127.0.0.1:x/health"), "port"));
  CHECK(Has(ErrorOf("", "http://127.0.0.1:1/health"), "does not answer"));
  CHECK(Has(ErrorOf("", "http://[::1]:1/health"), "does not answer"));
}
