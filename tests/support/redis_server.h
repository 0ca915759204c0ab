// A real redis-server of a test's own: loopback and a Unix socket, no disk, stopped at the end.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace weft::testing {

class RedisServer {
 public:
  struct Config {
    bool tls = false;  // with certificates made for the test, client ones required
    std::string password = {};
    std::vector<std::string> arguments = {};  // of redis-server: "--maxmemory", "1mb"
  };
  // Serves when it returns; the test fails when the program is missing or does not come up.
  explicit RedisServer(Config config);
  RedisServer() : RedisServer(Config()) {}

  void Kill();     // kill -9, with everything it knew
  void Restart();  // on the same addresses
  void Freeze();   // SIGSTOP: takes connections and answers nothing
  void Thaw();

  std::string url() const;       // TCP, with TLS and password as configured
  std::string unix_url() const;  // the socket
  const std::string& folder() const { return dir_.path(); }  // ca.pem, client.pem, client.key
  uint16_t port() const { return port_; }

 private:
  void WaitUntilItAnswers();

  const Config config_;
  TempDir dir_;
  uint16_t port_;
  std::unique_ptr<Process> process_;
};

}  // namespace weft::testing
