// One connection: commands out, replies in.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "libs/redis/reply.h"
#include "libs/redis/transport.h"

struct redisReader;

namespace weft::redis {

using Command = std::span<const std::string_view>;

// Not thread safe. After an error nothing more can be said: the connection is to be dropped, since
// a late reply would be taken for the next command's.
class Connection {
 public:
  // Connected, signed in and with its database chosen.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const Options& options,
                                                          const std::shared_ptr<SSL_CTX>& tls,
                                                          SteadyTime deadline);
  ~Connection();

  // All at once, and a reply for each in order. Error replies are replies, not errors.
  absl::StatusOr<std::vector<Reply>> Run(std::span<const Command> commands, SteadyTime deadline);
  absl::StatusOr<Reply> Run(Command command, SteadyTime deadline);

  // For subscriptions: sends only, and waits only.
  absl::Status Send(std::span<const Command> commands, SteadyTime deadline);
  absl::StatusOr<Reply> Receive(SteadyTime deadline);

  bool Stale() const;
  void Shut() { transport_->Shut(); }  // from any thread

 private:
  Connection(std::unique_ptr<Transport> transport, size_t max_reply_bytes);

  const std::unique_ptr<Transport> transport_;
  const size_t max_reply_bytes_;
  const std::unique_ptr<redisReader, void (*)(redisReader*)> reader_;
};

}  // namespace weft::redis
