#include "libs/redis/subscriber.h"

#include <utility>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/rpc/backoff.h"

namespace weft::redis {
namespace {

SteadyTime Now() { return std::chrono::steady_clock::now(); }

}  // namespace

absl::StatusOr<std::unique_ptr<Subscriber>> Subscriber::Start(Options options,
                                                              std::vector<std::string> channels,
                                                              SubscriberCallbacks callbacks,
                                                              std::chrono::milliseconds probe) {
  WEFT_RETURN_IF_ERROR(options.Validate());
  WEFT_ASSIGN_OR_RETURN(auto tls, MakeTlsContext(options));
  std::unique_ptr<Subscriber> out(new Subscriber(std::move(options), std::move(tls),
                                                 std::move(channels), std::move(callbacks), probe));
  out->thread_ = std::thread([self = out.get()] { self->Loop(); });
  return out;
}

Subscriber::Subscriber(Options options, std::shared_ptr<SSL_CTX> tls,
                       std::vector<std::string> channels, SubscriberCallbacks callbacks,
                       std::chrono::milliseconds probe)
    : options_(std::move(options)),
      tls_(std::move(tls)),
      channels_(std::move(channels)),
      callbacks_(std::move(callbacks)),
      probe_(probe) {}

Subscriber::~Subscriber() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    if (connection_ != nullptr) connection_->Shut();
  }
  stop_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Subscriber::Loop() {
  rpc::Backoff backoff({.initial = options_.min_retry, .maximum = options_.max_retry}, RandomU64());
  while (true) {
    auto connection = Connection::Open(options_, tls_, Now() + options_.connect_timeout);
    if (options_.hooks.connect) options_.hooks.connect(connection.status());
    bool connected = false;
    if (connection.ok()) {
      {
        std::lock_guard lock(mutex_);
        if (stop_) return;
        connection_ = connection->get();
      }
      Listen(**connection, connected).IgnoreError();  // the state says it
      std::lock_guard lock(mutex_);
      connection_ = nullptr;
    }
    if (connected) {
      backoff.Reset();
      if (callbacks_.state) callbacks_.state(false);
    }
    std::unique_lock lock(mutex_);
    if (stop_changed_.wait_for(lock, backoff.Next(), [this] { return stop_; })) return;
  }
}

absl::Status Subscriber::Listen(Connection& connection, bool& connected) {
  std::vector<std::string_view> words = {"SUBSCRIBE"};
  words.insert(words.end(), channels_.begin(), channels_.end());
  const Command subscribe(words);
  const std::string_view ping_word = "PING";
  const Command ping(&ping_word, 1);
  WEFT_RETURN_IF_ERROR(connection.Send({&subscribe, 1}, Now() + options_.connect_timeout));
  size_t confirmed = 0;
  bool probing = false;
  while (true) {
    auto reply = connection.Receive(Now() + (connected ? probe_ : options_.connect_timeout));
    if (!reply.ok()) {
      if (reply.status().code() != absl::StatusCode::kDeadlineExceeded || probing || !connected) {
        return reply.status();
      }
      probing = true;
      WEFT_RETURN_IF_ERROR(connection.Send({&ping, 1}, Now() + options_.connect_timeout));
      continue;
    }
    probing = false;
    WEFT_RETURN_IF_ERROR(ErrorOf(*reply));
    if (reply->items.size() != 3) continue;  // the answer to a probe
    const std::string& kind = reply->items[0].text;
    if (kind == "subscribe" && ++confirmed == channels_.size()) {
      connected = true;
      if (callbacks_.state) callbacks_.state(true);
    } else if (kind == "message" && callbacks_.message) {
      callbacks_.message(reply->items[1].text, reply->items[2].text);
    }
  }
}

}  // namespace weft::redis
