// A mesh without its gateway: workers and a scheduler as processes, and a client that speaks
// SchedulerService.Session.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "libs/rpc/stream_session.h"
#include "tests/support/process.h"
#include "weft/v1/scheduler.grpc.pb.h"
#include "weft/v1/worker.grpc.pb.h"

namespace weft::testing {

// Of one request, as the frames told it.
struct Answer {
  std::optional<v1::Accepted> accepted;
  std::vector<uint32_t> tokens;
  std::string text;
  std::vector<v1::TokenLogprob> logprobs;
  std::vector<v1::TokenLogprob> prompt_logprobs;
  std::optional<v1::Finished> finished;

  bool ok() const {
    return finished && (finished->reason() == v1::FINISH_REASON_STOP ||
                        finished->reason() == v1::FINISH_REASON_LENGTH);
  }
};

// A gateway's side of a session. Thread safe. Breaks of the contract (a token or byte lost, doubled
// or out of place; anything after the end) are kept in violations().
class GatewayClient {
 public:
  explicit GatewayClient(const std::string& target);
  ~GatewayClient();

  // Sets the handle, and submits.
  uint32_t Submit(v1::Submit submit);
  void Cancel(uint32_t handle);
  Answer Get(uint32_t handle) const;
  // True when all have finished in time.
  bool WaitFinished(const std::vector<uint32_t>& handles, std::chrono::milliseconds limit);
  // True when this many tokens in all have come in time.
  bool WaitTokens(size_t tokens, std::chrono::milliseconds limit);
  bool WaitTokensOf(uint32_t handle, size_t tokens, std::chrono::milliseconds limit);
  size_t frames() const;
  bool told_draining() const;
  bool closed() const;
  std::vector<std::string> violations() const;
  v1::SchedulerService::Stub& stub() { return *stub_; }

 private:
  class Handler;
  struct State;
  const std::shared_ptr<State> state_;
  std::unique_ptr<v1::SchedulerService::Stub> stub_;
  std::shared_ptr<rpc::Session<v1::GatewayFrame>> session_;
};

class Mesh {
 public:
  Mesh();

  // `sets` are "section.key=value". A worker that runs already is replaced.
  void StartWorker(int index, const std::vector<std::string>& sets = {}, bool allow_faults = false);
  void StartScheduler(int index, int workers, const std::vector<std::string>& sets = {});
  Process& worker(int index) { return *workers_.at(index); }
  Process& scheduler(int index = 0) { return *schedulers_.at(index); }
  std::string SchedulerTarget(int index = 0) const;
  std::string WorkerTarget(int index) const;
  // A client, after `workers` workers have welcomed the scheduler and the model can be asked for.
  std::unique_ptr<GatewayClient> Connect(int scheduler = 0);
  // What the worker says of itself; nullopt when it does not answer.
  std::optional<v1::DescribeResponse> Describe(int worker);
  // All log files, for a failing test's message.
  std::string Logs() const;

 private:
  TempDir dir_;
  std::string config_;
  std::map<int, std::unique_ptr<Process>> workers_;
  std::map<int, std::unique_ptr<Process>> schedulers_;
};

// A request with everything set that the gateway would set. Greedy.
v1::Submit PromptRequest(const std::string& prompt, uint32_t max_tokens);
// Temperature 0.8 and this seed.
v1::Submit SeededRequest(const std::string& prompt, uint32_t max_tokens, uint64_t seed);
// `count` different requests, greedy and seeded in turn.
std::vector<v1::Submit> MixedRequests(int count, uint32_t max_tokens);

}  // namespace weft::testing
