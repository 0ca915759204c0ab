// How the processes of one worker find each other: all ranks come to rank 0 over gRPC and leave
// with each other's addresses.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "libs/rpc/tls.h"

namespace weft::config {
class Binder;
}

namespace weft::worker {

struct RendezvousOptions {
  // Where rank 0 serves while the ranks gather: host:port, or unix:/path on one machine.
  std::string address;
  // What all ranks must say.
  std::string token;
  // Where other ranks reach this one, numeric and without a port; empty: the address from which it
  // reaches rank 0.
  std::string host;
  std::chrono::milliseconds timeout{600'000};
  rpc::TlsOptions server_tls, client_tls;

  absl::Status Validate() const;
};

void Bind(config::Binder& binder, RendezvousOptions& options);

struct Attendance {
  int rank = 0;
  int ranks = 1;
  std::string settings;                // what must be the same on all ranks
  std::vector<std::string> addresses;  // of this rank, as many on every rank
};

struct Meeting {
  std::string group_id;                             // of this gathering and no other
  std::vector<std::vector<std::string>> addresses;  // [ranks]
};

// Blocks until all ranks have come. Rank 0 serves meanwhile; the others try again while nobody
// serves or their place is taken. kUnavailable, with what is missing, after the timeout;
// kCancelled when `stopped`, which is asked ten times a second, says so.
absl::StatusOr<Meeting> Meet(const RendezvousOptions& options, const Attendance& own,
                             const std::function<bool()>& stopped);

}  // namespace weft::worker
