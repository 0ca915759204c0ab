#include "bench/mesh/load.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "libs/base/status.h"
#include "libs/rpc/stream_session.h"
#include "weft/v1/scheduler.grpc.pb.h"

namespace weft::bench {
namespace {

using namespace std::chrono_literals;
using Time = std::chrono::steady_clock::time_point;

double CpuSeconds(pid_t pid) {
  std::ifstream in(fmt::format("/proc/{}/stat", pid));
  std::string line;
  std::getline(in, line);
  // After the name in parentheses: fields 14 and 15 of proc(5) are utime and stime.
  std::vector<std::string> fields;
  std::string field;
  for (const char c : line.substr(line.rfind(')') + 2) + " ") {
    if (c == ' ') {
      fields.push_back(field);
      field.clear();
    } else {
      field += c;
    }
  }
  return (std::stod(fields[11]) + std::stod(fields[12])) /
         static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Counts; keeps times only for first deltas.
class Client {
 public:
  explicit Client(const std::string& target) : state_(std::make_shared<State>()) {
    const auto channel = grpc::CreateChannel(target, grpc::InsecureChannelCredentials());
    // gRPC's callback threads must not end: see services/scheduler/worker_links.cc.
    [[maybe_unused]] static const auto* anchor = new std::shared_ptr<grpc::Channel>(channel);
    stub_ = v1::SchedulerService::NewStub(channel);
    session_ = rpc::OpenSession<v1::DeltaFrame, v1::GatewayFrame>(
        [this](grpc::ClientContext* c, auto* reactor) { stub_->async()->Session(c, reactor); },
        std::make_shared<Handler>(state_));
    v1::GatewayFrame hello;
    hello.mutable_hello()->set_gateway_id("bench");
    session_->Send(std::move(hello));
  }
  ~Client() {
    session_->Abort(Cancelled("done"));
    std::unique_lock lock(state_->mutex);
    state_->changed.wait_for(lock, 5s, [this] { return state_->closed; });
  }

  static void AddSubmit(v1::GatewayFrame& frame, uint32_t handle, uint32_t tokens) {
    v1::Submit& s = *frame.add_submits();
    s.set_handle(handle);
    s.set_request_id(fmt::format("bench-{}", handle));
    s.set_model("synthetic");
    s.set_prompt("def fibonacci(n):");
    s.mutable_sampling()->set_top_p(1);
    s.mutable_sampling()->set_repetition_penalty(1);
    s.mutable_sampling()->set_max_tokens(tokens);
    s.mutable_sampling()->set_ignore_eos(true);
  }
  void Send(v1::GatewayFrame frame) { session_->Send(std::move(frame)); }
  bool WaitFinished(size_t n, std::chrono::seconds limit) {
    std::unique_lock lock(state_->mutex);
    return state_->changed.wait_for(lock, limit, [&] {
      return state_->finished >= n || state_->closed;
    }) && state_->errors == 0;
  }

  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::unordered_map<uint32_t, Time> first;
    size_t tokens = 0;
    size_t frames = 0;
    size_t finished = 0;
    size_t errors = 0;
    bool closed = false;
  };
  State& state() { return *state_; }

 private:
  class Handler final : public rpc::SessionHandler<v1::DeltaFrame, v1::GatewayFrame> {
   public:
    explicit Handler(std::shared_ptr<State> state) : state_(std::move(state)) {}
    void OnOpen(std::shared_ptr<rpc::Session<v1::GatewayFrame>>) override {}
    void OnFrame(v1::DeltaFrame& frame) override {
      const Time now = std::chrono::steady_clock::now();
      std::lock_guard lock(state_->mutex);
      if (frame.handles_size() > 0) ++state_->frames;
      state_->tokens += static_cast<size_t>(frame.token_ids_size());
      for (const uint32_t h : frame.handles()) state_->first.try_emplace(h, now);
      for (const v1::Finished& f : frame.finished()) {
        ++state_->finished;
        if (f.reason() == v1::FINISH_REASON_ERROR) ++state_->errors;
      }
      if (frame.finished_size() > 0) state_->changed.notify_all();
    }
    void OnClosed(const absl::Status&) override {
      std::lock_guard lock(state_->mutex);
      state_->closed = true;
      state_->changed.notify_all();
    }

   private:
    const std::shared_ptr<State> state_;
  };

  const std::shared_ptr<State> state_;
  std::unique_ptr<v1::SchedulerService::Stub> stub_;
  std::shared_ptr<rpc::Session<v1::GatewayFrame>> session_;
};

}  // namespace

StreamsResult MeasureStreams(const std::string& target, pid_t scheduler, pid_t worker, int streams,
                             uint32_t tokens_each) {
  Client client(target);
  v1::GatewayFrame frame;
  for (int i = 1; i <= streams; ++i) {
    Client::AddSubmit(frame, static_cast<uint32_t>(i), tokens_each);
  }
  const double scheduler_before = CpuSeconds(scheduler);
  const double worker_before = CpuSeconds(worker);
  const Time begin = std::chrono::steady_clock::now();
  client.Send(std::move(frame));
  WEFT_CHECK(client.WaitFinished(static_cast<size_t>(streams), 120s));
  StreamsResult r;
  r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const double scheduler_cpu = CpuSeconds(scheduler) - scheduler_before;
  const double worker_cpu = CpuSeconds(worker) - worker_before;
  std::lock_guard lock(client.state().mutex);
  const auto tokens = static_cast<double>(client.state().tokens);
  const auto frames = static_cast<double>(client.state().frames);
  WEFT_CHECK(client.state().tokens == static_cast<size_t>(streams) * tokens_each);
  r.streams = streams;
  r.tokens_each = tokens_each;
  r.tokens_per_s = tokens / r.seconds;
  r.frames_per_s = frames / r.seconds;
  r.tokens_per_frame = tokens / frames;
  r.scheduler_us_per_frame = scheduler_cpu * 1e6 / frames;
  r.scheduler_us_per_token = scheduler_cpu * 1e6 / tokens;
  r.worker_us_per_frame = worker_cpu * 1e6 / frames;
  return r;
}

LatencyResult MeasureLatency(const std::string& target, double rate, int requests,
                             uint32_t tokens_each) {
  Client client(target);
  std::vector<Time> sent(static_cast<size_t>(requests) + 1);
  const Time begin = std::chrono::steady_clock::now();
  for (int i = 1; i <= requests; ++i) {
    std::this_thread::sleep_until(
        begin + std::chrono::duration_cast<std::chrono::nanoseconds>(
                    std::chrono::duration<double>(static_cast<double>(i) / rate)));
    v1::GatewayFrame frame;
    Client::AddSubmit(frame, static_cast<uint32_t>(i), tokens_each);
    sent[static_cast<size_t>(i)] = std::chrono::steady_clock::now();
    client.Send(std::move(frame));
  }
  WEFT_CHECK(client.WaitFinished(static_cast<size_t>(requests), 60s));
  std::vector<double> ms;
  std::lock_guard lock(client.state().mutex);
  for (const auto& [handle, time] : client.state().first) {
    ms.push_back(std::chrono::duration<double, std::milli>(time - sent[handle]).count());
  }
  std::sort(ms.begin(), ms.end());
  const auto at = [&](double q) {
    return ms[static_cast<size_t>(q * static_cast<double>(ms.size() - 1))];
  };
  return {rate, requests, at(0.5), at(0.9), at(0.99), ms.back()};
}

}  // namespace weft::bench
