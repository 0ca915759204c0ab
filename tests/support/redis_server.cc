#include "tests/support/redis_server.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tests/support/tls_files.h"

namespace weft::testing {
namespace {

// Below the range of outgoing connections, so that none of those takes it before the server does.
uint16_t FreePort() {
  static uint16_t next = static_cast<uint16_t>(20'000 + getpid() % 10'000);
  for (int i = 0; i < 2'000; ++i) {
    const uint16_t port = next++;
    if (next >= 32'000) next = 20'000;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool free = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    close(fd);
    if (free) return port;
  }
  throw std::runtime_error("no free port");
}

std::string Program() {
  for (const char* path : {"/usr/bin/redis-server", "/usr/local/bin/redis-server"}) {
    if (std::filesystem::exists(path)) return path;
  }
  throw std::runtime_error("redis-server is missing: install the package redis-server");
}

// PING over the socket; any answer but silence counts once data are loaded ("+PONG", "-NOAUTH").
bool Answers(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  char answer[16] = {};
  const bool good = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
                    send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 &&
                    recv(fd, answer, sizeof(answer) - 1, 0) > 4;
  close(fd);
  return good && std::strncmp(answer, "-LOADING", 8) != 0;
}

}  // namespace

RedisServer::RedisServer(Config config) : config_(std::move(config)), port_(FreePort()) {
  if (config_.tls) test::MakeTlsFiles(dir_.path());
  Restart();
}

void RedisServer::Restart() {
  std::vector<std::string> argv = {Program(),
                                   "--unixsocket",
                                   dir_.path() + "/redis.sock",
                                   "--save",
                                   "",
                                   "--appendonly",
                                   "no",
                                   "--bind",
                                   "127.0.0.1",
                                   "--dir",
                                   dir_.path()};
  const auto add = [&](std::initializer_list<std::string> words) {
    argv.insert(argv.end(), words);
  };
  if (config_.tls) {
    add({"--port", "0", "--tls-port", std::to_string(port_)});
    add({"--tls-cert-file", dir_.path() + "/server.pem", "--tls-key-file",
         dir_.path() + "/server.key", "--tls-ca-cert-file", dir_.path() + "/ca.pem"});
  } else {
    add({"--port", std::to_string(port_)});
  }
  if (!config_.password.empty()) add({"--requirepass", config_.password});
  argv.insert(argv.end(), config_.arguments.begin(), config_.arguments.end());
  std::filesystem::remove(dir_.path() + "/redis.sock");
  process_ = std::make_unique<Process>(std::move(argv), dir_.path() + "/log");
  WaitUntilItAnswers();
}

void RedisServer::WaitUntilItAnswers() {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!Answers(dir_.path() + "/redis.sock")) {
    if (!process_->running() || std::chrono::steady_clock::now() > end) {
      std::ostringstream log;
      log << std::ifstream(dir_.path() + "/log").rdbuf();
      throw std::runtime_error("redis-server did not start: " + log.str());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void RedisServer::Kill() { process_.reset(); }
void RedisServer::Freeze() { process_->Signal(SIGSTOP); }
void RedisServer::Thaw() { process_->Signal(SIGCONT); }

std::string RedisServer::url() const {
  const std::string secret = config_.password.empty() ? "" : ":" + config_.password + "@";
  return (config_.tls ? "rediss://" : "redis://") + secret + "127.0.0.1:" + std::to_string(port_);
}

std::string RedisServer::unix_url() const {
  const std::string secret = config_.password.empty() ? "" : ":" + config_.password + "@";
  return "unix://" + secret + dir_.path() + "/redis.sock";
}

}  // namespace weft::testing
