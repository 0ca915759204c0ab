#include "libs/redis/client.h"

#include <utility>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/rpc/backoff.h"

namespace weft::redis {
namespace {

SteadyTime Now() { return std::chrono::steady_clock::now(); }

bool LooksAway(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kDeadlineExceeded;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Create(Options options) {
  WEFT_RETURN_IF_ERROR(options.Validate());
  WEFT_ASSIGN_OR_RETURN(auto tls, MakeTlsContext(options));
  std::unique_ptr<Client> out(new Client(std::move(options), std::move(tls)));
  auto first = out->Connect(Now() + out->options_.connect_timeout);
  {
    std::lock_guard lock(out->mutex_);
    out->NoteLocked(first.status());
    if (first.ok()) {
      out->idle_.push_back(*std::move(first));
      out->open_ = 1;
    }
  }
  out->thread_ = std::thread([client = out.get()] { client->Reconnect(); });
  return out;
}

Client::Client(Options options, std::shared_ptr<SSL_CTX> tls)
    : options_(std::move(options)), tls_(std::move(tls)) {}

Client::~Client() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

absl::StatusOr<std::unique_ptr<Connection>> Client::Connect(SteadyTime deadline) {
  auto connection = Connection::Open(options_, tls_, deadline);
  // A server that still loads its data takes connections and nothing else.
  if (connection.ok()) {
    const std::string_view ping = "PING";
    auto pong = (*connection)->Run(Command(&ping, 1), deadline);
    const absl::Status status = pong.ok() ? ErrorOf(*pong) : pong.status();
    if (!status.ok()) connection = status;
  }
  if (!connection.ok()) {
    connection = Annotate(connection.status(), options_.endpoint.Name());
  }
  if (options_.hooks.connect) options_.hooks.connect(connection.status());
  return connection;
}

void Client::NoteLocked(const absl::Status& status) {
  const bool was_up = status_.ok();
  status_ = status;
  if (!status.ok()) {
    open_ -= idle_.size();
    idle_.clear();
  }
  if (was_up != status.ok()) changed_.notify_all();
}

void Client::Reconnect() {
  rpc::Backoff backoff({.initial = options_.min_retry, .maximum = options_.max_retry}, RandomU64());
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (status_.ok()) {
      backoff.Reset();
      changed_.wait(lock, [this] { return stop_ || !status_.ok(); });
      continue;
    }
    if (changed_.wait_for(lock, backoff.Next(), [this] { return stop_; })) return;
    lock.unlock();
    auto connection = Connect(Now() + options_.connect_timeout);
    lock.lock();
    NoteLocked(connection.status());
    if (!connection.ok()) continue;
    idle_.push_back(*std::move(connection));
    ++open_;
    changed_.notify_all();
  }
}

absl::StatusOr<std::unique_ptr<Connection>> Client::Acquire(SteadyTime deadline) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (!status_.ok()) return Unavailable("Redis is away: {}", Message(status_));
    if (!idle_.empty()) {
      auto connection = std::move(idle_.back());
      idle_.pop_back();
      if (!connection->Stale()) return connection;
      --open_;  // the server closed it, because it restarted or by its own timeout
      continue;
    }
    if (open_ < options_.connections) {
      ++open_;
      lock.unlock();
      auto connection = Connect(deadline);
      lock.lock();
      if (connection.ok()) return connection;
      --open_;
      NoteLocked(connection.status());
      return connection.status();
    }
    if (changed_.wait_until(lock, deadline) == std::cv_status::timeout && Now() >= deadline) {
      return DeadlineExceeded("all {} connections to {} are in use", options_.connections,
                              options_.endpoint.Name());
    }
  }
}

void Client::Release(std::unique_ptr<Connection> connection, const absl::Status& outcome) {
  {
    std::lock_guard lock(mutex_);
    if (outcome.ok() && status_.ok()) {
      idle_.push_back(std::move(connection));
    } else {
      --open_;
      // A connection that broke may be one that the server closed; the next call finds out. A
      // server that does not answer keeps every caller waiting: nobody else is sent there.
      if (outcome.code() == absl::StatusCode::kDeadlineExceeded) NoteLocked(outcome);
    }
  }
  changed_.notify_all();
}

absl::StatusOr<std::vector<Reply>> Client::Exchange(std::span<const Command> commands,
                                                    SteadyTime deadline) {
  WEFT_ASSIGN_OR_RETURN(auto connection, Acquire(deadline));
  auto replies = connection->Run(commands, deadline);
  absl::Status outcome = replies.status();
  if (replies.ok()) {
    // A server that lost its role, or only now loads: the next connection may find the right one.
    for (const Reply& reply : *replies) {
      if (LooksAway(ErrorOf(reply))) outcome = ErrorOf(reply);
    }
  } else {
    replies = Annotate(replies.status(), options_.endpoint.Name());
  }
  Release(std::move(connection), outcome);
  return replies;
}

absl::StatusOr<std::vector<Reply>> Client::Pipeline(std::span<const Command> commands,
                                                    Timeout timeout) {
  if (commands.empty()) return std::vector<Reply>();
  const SteadyTime begin = Now();
  auto replies = Exchange(commands, begin + timeout.value_or(options_.timeout));
  if (options_.hooks.command) {
    absl::Status status = replies.status();
    for (size_t i = 0; replies.ok() && i < replies->size(); ++i)
      status.Update(ErrorOf((*replies)[i]));
    const std::string_view name = commands.front().empty() ? "" : commands.front().front();
    options_.hooks.command(name, Now() - begin, status);
  }
  return replies;
}

absl::StatusOr<Reply> Client::Run(Command command, Timeout timeout) {
  WEFT_ASSIGN_OR_RETURN(std::vector<Reply> replies, Pipeline({&command, 1}, timeout));
  WEFT_RETURN_IF_ERROR(ErrorOf(replies.front()));
  return std::move(replies.front());
}

absl::StatusOr<Reply> Client::Eval(const Script& script, std::span<const std::string> keys,
                                   std::span<const std::string> arguments, Timeout timeout) {
  const std::string count = std::to_string(keys.size());
  std::vector<std::string_view> words = {"EVALSHA", script.sha1(), count};
  words.insert(words.end(), keys.begin(), keys.end());
  words.insert(words.end(), arguments.begin(), arguments.end());
  const Command command(words);
  WEFT_ASSIGN_OR_RETURN(std::vector<Reply> replies, Pipeline({&command, 1}, timeout));
  if (!replies.front().error() || replies.front().text.rfind("NOSCRIPT", 0) != 0) {
    WEFT_RETURN_IF_ERROR(ErrorOf(replies.front()));
    return std::move(replies.front());
  }
  words[0] = "EVAL";
  words[1] = script.source();
  return Run(command, timeout);
}

bool Client::up() const {
  std::lock_guard lock(mutex_);
  return status_.ok();
}

absl::Status Client::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

}  // namespace weft::redis
