// The sessions with workers: one dialer for each address, addresses from a list and from DNS.
#pragma once

#include <absl/status/status.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/thread_pool.h"
#include "services/scheduler/config.h"
#include "services/scheduler/dns_lookup.h"
#include "services/scheduler/ports.h"
#include "services/scheduler/tokenizer_store.h"

namespace weft::scheduler {

// What the sessions tell. Called on gRPC's threads. For one link: OnWelcome, then frames, then
// OnLost; nothing before a welcome.
struct WorkerEvents {
  std::function<void(uint64_t link, v1::WorkerWelcome welcome)> on_welcome;
  std::function<void(uint64_t link, v1::StepFrame frame)> on_frame;
  std::function<void(uint64_t link, const absl::Status& status)> on_lost;
  std::function<void(const std::string& sha256)> on_tokenizer;
  std::function<void(const std::string& address, const absl::Status& status)> on_trouble;  // logs
};

// Thread safe. Write, Break and Writable are for the dispatcher's thread.
class WorkerLinks final : public WorkerPort {
 public:
  WorkerLinks(const Config& config, std::string scheduler_id, TokenizerStore& store,
              WorkerEvents events, Resolver resolve = LookUpAddresses);
  ~WorkerLinks() override;  // Stop()

  absl::Status Start();
  // Ends all sessions; no event comes afterwards.
  void Stop();

  void Write(uint64_t link, v1::WorkFrame frame) override;
  void Break(uint64_t link, std::string_view why) override;
  // The peer takes what it gets (or is gone): another frame may be written.
  bool Writable(uint64_t link) const;

 private:
  class Peer;
  class Handler;
  struct Table;

  absl::Status AddPeer(const std::string& target);
  void ResolveLoop();
  void Resolve();

  const Config config_;
  const Resolver resolve_;
  std::shared_ptr<Table> table_;
  std::vector<std::string> names_;  // "host:port" of dns:/// entries

  std::mutex mutex_;  // guards peers_, stopping_
  std::condition_variable wake_;
  std::map<std::string, std::unique_ptr<Peer>> peers_;  // by target
  std::map<std::string, std::string> from_dns_;         // target -> name
  bool stopping_ = false;
  std::thread resolver_;
};

}  // namespace weft::scheduler
