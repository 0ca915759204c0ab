// A pool of connections to one Redis.
#pragma once

#include <absl/status/statusor.h>

#include <condition_variable>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "libs/redis/connection.h"
#include "libs/redis/options.h"
#include "libs/redis/reply.h"
#include "libs/redis/script.h"

namespace weft::redis {

// Thread safe. Every call blocks for its round trip and never longer than its timeout.
//
// UNAVAILABLE and DEADLINE_EXCEEDED mean that the server may or may not have done what was asked:
// nothing is sent twice. While the server is away calls fail at once with UNAVAILABLE, and a thread
// of the client's own tries to reach it, with growing waits.
class Client {
 public:
  // Tries to connect once, for at most connect_timeout; a server that is away is no error.
  // INVALID_ARGUMENT for options and files that are not good.
  static absl::StatusOr<std::unique_ptr<Client>> Create(Options options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  using Timeout = std::optional<std::chrono::milliseconds>;  // in place of Options::timeout

  // An error reply is the error that ErrorOf says.
  absl::StatusOr<Reply> Run(Command command, Timeout timeout = std::nullopt);
  absl::StatusOr<Reply> Run(std::initializer_list<std::string_view> command,
                            Timeout timeout = std::nullopt) {
    return Run(Command(command.begin(), command.size()), timeout);
  }
  // One round trip for all. Error replies stay in their place.
  absl::StatusOr<std::vector<Reply>> Pipeline(std::span<const Command> commands,
                                              Timeout timeout = std::nullopt);
  // Runs it by its name; with its text when the server does not know it (yet, or after a restart).
  absl::StatusOr<Reply> Eval(const Script& script, std::span<const std::string> keys,
                             std::span<const std::string> arguments,
                             Timeout timeout = std::nullopt);

  bool up() const;
  // Why it is not up; OK when it is.
  absl::Status status() const;
  const Options& options() const { return options_; }

 private:
  Client(Options options, std::shared_ptr<SSL_CTX> tls);
  absl::StatusOr<std::unique_ptr<Connection>> Acquire(SteadyTime deadline);
  void Release(std::unique_ptr<Connection> connection, const absl::Status& outcome);
  absl::StatusOr<std::unique_ptr<Connection>> Connect(SteadyTime deadline);
  absl::StatusOr<std::vector<Reply>> Exchange(std::span<const Command> commands,
                                              SteadyTime deadline);
  void NoteLocked(const absl::Status& status);
  void Reconnect();  // the thread

  const Options options_;
  const std::shared_ptr<SSL_CTX> tls_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;  // a connection came back, the state changed, or the end
  std::vector<std::unique_ptr<Connection>> idle_;
  size_t open_ = 0;      // idle and in use
  absl::Status status_;  // not OK: away
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace weft::redis
