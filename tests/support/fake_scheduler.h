// A scheduler without workers: a real gRPC server that speaks SchedulerService and makes
// deterministic text, for tests of the gateway. What it does is asked for in the prompt's last
// line:
//
//   "words N"         N words "w0 w1 …", one token each (capped by max_tokens)
//   "text: …"         exactly this text, one token per three bytes or so
//   "big N"           N tokens of 64 KiB
//   "slow N M"        as words N, one every M ms
//   "error CODE msg"  Finished with that google.rpc.Code number
//   "late CODE N"     N words, then that error
// Of a fill-in request the prefix counts. Log probabilities are -0.5, of choices after the first
// -0.5 / (choice + 1); those of a prompt are its bytes'.
// Anything else is "words 5". Each sequence waits `delay` before its first token.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace weft::test {

struct FakeSchedulerStats {
  uint64_t submits = 0;
  uint64_t resumes = 0;
  uint64_t cancels = 0;
  uint64_t refused = 0;  // while it drained
  size_t running = 0;
};

class FakeScheduler {
 public:
  // `address` is what rpc::ServerOptions::listen takes; empty: a free port.
  static std::unique_ptr<FakeScheduler> Start(std::string address = "127.0.0.1:0");
  virtual ~FakeScheduler() = default;  // breaks its sessions

  virtual std::string address() const = 0;
  virtual FakeSchedulerStats stats() const = 0;
  // Serialised weft.v1.Submit messages as they came.
  virtual std::vector<std::string> submits() const = 0;
  // The number of tokens each sequence has made when sessions are cut by Break.
  virtual void Break() = 0;
  // Says hello a second time in every session, which the contract forbids.
  virtual void GreetAgain() = 0;
  // Tells its sessions that it drains, and refuses what comes until it breaks.
  virtual void Drain() = 0;
};

}  // namespace weft::test
