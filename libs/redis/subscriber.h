// Listens to channels for as long as it lives.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "libs/redis/connection.h"
#include "libs/redis/options.h"

namespace weft::redis {

struct SubscriberCallbacks {
  std::function<void(std::string_view channel, std::string_view message)> message;
  // True when the subscription stands: what was published before is lost, so whoever keeps copies
  // has to drop them. False when it broke.
  std::function<void(bool connected)> state;
};

// A connection and a thread of its own, on which the callbacks run. Connects again with growing
// waits. A silent connection is asked for a sign of life every `probe`.
class Subscriber {
 public:
  // INVALID_ARGUMENT for options and files that are not good.
  static absl::StatusOr<std::unique_ptr<Subscriber>> Start(
      Options options, std::vector<std::string> channels, SubscriberCallbacks callbacks,
      std::chrono::milliseconds probe = std::chrono::seconds(10));
  ~Subscriber();  // no callback runs after it
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

 private:
  Subscriber(Options options, std::shared_ptr<SSL_CTX> tls, std::vector<std::string> channels,
             SubscriberCallbacks callbacks, std::chrono::milliseconds probe);
  void Loop();
  absl::Status Listen(Connection& connection, bool& connected);

  const Options options_;
  const std::shared_ptr<SSL_CTX> tls_;
  const std::vector<std::string> channels_;
  const SubscriberCallbacks callbacks_;
  const std::chrono::milliseconds probe_;
  std::mutex mutex_;
  std::condition_variable stop_changed_;
  bool stop_ = false;
  Connection* connection_ = nullptr;
  std::thread thread_;
};

}  // namespace weft::redis
