// Groups whose ranks are processes, on one machine or several: a connection between every two.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "libs/comm/communicator.h"

namespace weft::comm {

class Socket;

struct SocketOptions {
  int rank = 0;
  // Where each rank listens: "unix:/path" or "host:port" with a numeric host. Their number is the
  // group's size.
  std::vector<std::string> addresses;
  // Listens at one's own address already (peer_socket.h), until the group is joined; null: it is
  // bound then.
  const Socket* listener = nullptr;
  // The same for all ranks of a group and for no other group: whoever says another is not let in.
  std::string group_id;
  // How long a rank waits for the others in one call, and while the group is joined.
  std::chrono::milliseconds timeout{30'000};

  absl::Status Validate() const;
};

// Blocks until all ranks have come. A sum is added in the order of the ranks, as in one process:
// every rank sends what it has to every other. A rank whose process ends is noticed at once, one
// that hangs after the timeout; either ends the group for all.
absl::StatusOr<std::unique_ptr<Communicator>> JoinSocketGroup(const SocketOptions& options);

}  // namespace weft::comm
