#include "libs/rpc/stream_session.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/server.h"
#include "libs/rpc/session_dialer.h"
#include "tests/support/catch.h"
#include "weft/v1/worker.grpc.pb.h"

namespace weft::rpc {
namespace {

using namespace std::chrono_literals;
using v1::StepFrame;
using v1::WorkFrame;

// Keeps what a session's callbacks say, for a test thread to wait on. One class serves both ends.
template <typename In, typename Out>
class Recorder : public SessionHandler<In, Out> {
 public:
  std::function<void(Recorder&, In&)> on_frame;

  void OnOpen(std::shared_ptr<Session<Out>> opened) override {
    std::lock_guard lock(mutex_);
    session_ = std::move(opened);
    changed_.notify_all();
  }
  void OnFrame(In& frame) override {
    if (on_frame) on_frame(*this, frame);
    std::lock_guard lock(mutex_);
    frames_.push_back(std::move(frame));
    changed_.notify_all();
  }
  void OnClosed(const absl::Status& status) override {
    std::lock_guard lock(mutex_);
    ++closed_;
    status_ = status;
    changed_.notify_all();
  }

  std::shared_ptr<Session<Out>> session() {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, 10s, [&] { return session_ != nullptr; }));
    return session_;
  }
  std::vector<In> WaitFrames(size_t count) {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, 10s, [&] { return frames_.size() >= count; }));
    return frames_;
  }
  absl::Status WaitClosed() {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, 10s, [&] { return closed_ > 0; }));
    REQUIRE(closed_ == 1);
    return status_;
  }
  size_t frames() {
    std::lock_guard lock(mutex_);
    return frames_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Session<Out>> session_;
  std::vector<In> frames_;
  int closed_ = 0;
  absl::Status status_;
};

using ServerSide = Recorder<WorkFrame, StepFrame>;
using ClientSide = Recorder<StepFrame, WorkFrame>;

class TestService final : public v1::WorkerService::CallbackService {
 public:
  SessionOptions options;
  std::function<void(ServerSide&, WorkFrame&)> on_frame;

  grpc::ServerBidiReactor<WorkFrame, StepFrame>* Session(
      grpc::CallbackServerContext* context) override {
    auto side = std::make_shared<ServerSide>();
    side->on_frame = on_frame;
    {
      std::lock_guard lock(mutex_);
      sides_.push_back(side);
    }
    changed_.notify_all();
    return AcceptSession<WorkFrame, StepFrame>(context, side, options);
  }

  std::shared_ptr<ServerSide> side(size_t index = 0) {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, 10s, [&] { return sides_.size() > index; }));
    return sides_[index];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<ServerSide>> sides_;
};

struct Mesh {
  TestService service;
  std::string address;
  std::unique_ptr<Server> server;
  std::shared_ptr<v1::WorkerService::Stub> stub;

  Mesh() {
    address = fmt::format("unix:/tmp/weft-session-{}-{}.sock", getpid(), RandomU64());
    Serve();
    stub = v1::WorkerService::NewStub(
        *MakeChannel({.target = address, .min_reconnect = 10ms, .max_reconnect = 100ms}));
  }
  ~Mesh() {
    server.reset();
    unlink(address.substr(5).c_str());
  }
  void Serve() {
    auto started =
        Server::Start({.listen = {address}}, {{&service, v1::WorkerService::service_full_name()}});
    INFO(ToString(started.status()));
    REQUIRE(started.ok());
    server = *std::move(started);
  }
  auto StartCall() {
    return [stub = stub](grpc::ClientContext* context, auto* reactor) {
      stub->async()->Session(context, reactor);
    };
  }
  std::shared_ptr<ClientSide> Open(SessionOptions options = {}) {
    auto side = std::make_shared<ClientSide>();
    OpenSession<StepFrame, WorkFrame>(StartCall(), side, options);
    return side;
  }
};

StepFrame Step(uint64_t number) {
  StepFrame frame;
  frame.set_step(number);
  return frame;
}

WorkFrame Cancel(uint32_t handle) {
  WorkFrame frame;
  frame.add_cancels(handle);
  return frame;
}

TEST_CASE("A session carries frames both ways in order", "[rpc]") {
  Mesh mesh;
  mesh.service.on_frame = [](ServerSide& side, WorkFrame& frame) {
    side.session()->Send(Step(frame.cancels(0)));
  };
  auto client = mesh.Open();
  constexpr uint32_t kFrames = 2000;
  for (uint32_t i = 0; i < kFrames; ++i) REQUIRE(client->session()->Send(Cancel(i)));
  const auto frames = client->WaitFrames(kFrames);
  for (uint32_t i = 0; i < kFrames; ++i) REQUIRE(frames[i].step() == i);
  client->session()->Close();
  REQUIRE(client->WaitClosed().ok());
  REQUIRE(mesh.service.side()->WaitClosed().ok());
}

TEST_CASE("A session takes frames from many threads", "[rpc]") {
  Mesh mesh;
  auto client = mesh.Open();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (uint32_t i = 0; i < 500; ++i) client->session()->Send(Cancel(i));
    });
  }
  for (auto& thread : threads) thread.join();
  client->session()->Close();
  REQUIRE(mesh.service.side()->WaitFrames(2000).size() == 2000);
  REQUIRE(mesh.service.side()->WaitClosed().ok());
  REQUIRE(client->WaitClosed().ok());
}

TEST_CASE("Close on the server sends what is queued, then OK", "[rpc]") {
  Mesh mesh;
  auto client = mesh.Open();
  auto session = mesh.service.side()->session();
  for (uint64_t i = 0; i < 100; ++i) REQUIRE(session->Send(Step(i)));
  session->Close();
  REQUIRE(session->closed());
  REQUIRE_FALSE(session->Send(Step(0)));
  REQUIRE(client->WaitClosed().ok());
  REQUIRE(client->frames() == 100);
  REQUIRE(mesh.service.side()->WaitClosed().ok());
}

TEST_CASE("Abort on the server shows its status to the client", "[rpc]") {
  Mesh mesh;
  auto client = mesh.Open();
  mesh.service.side()->session()->Abort(
      WithRetryAfter(FailedPrecondition("epoch: 3 is not newer than 5"), 1500ms));
  const absl::Status status = client->WaitClosed();
  REQUIRE(ToString(status) == "FAILED_PRECONDITION: epoch: 3 is not newer than 5");
  REQUIRE(RetryAfterOf(status) == 1500ms);
  REQUIRE(mesh.service.side()->WaitClosed().code() == absl::StatusCode::kFailedPrecondition);
  REQUIRE_FALSE(client->session()->Send(Cancel(1)));
}

TEST_CASE("Abort on the client reaches the server as a cancellation", "[rpc]") {
  Mesh mesh;
  auto client = mesh.Open();
  auto server_side = mesh.service.side();
  client->session()->Abort(DeadlineExceeded("no step for 10 s"));
  client->session()->Abort(Cancelled("again"));
  REQUIRE(client->WaitClosed().code() == absl::StatusCode::kDeadlineExceeded);
  REQUIRE(server_side->WaitClosed().code() == absl::StatusCode::kCancelled);
  REQUIRE_FALSE(server_side->session()->Send(Step(1)));
}

TEST_CASE("A full outbox closes the session and never blocks the sender", "[rpc]") {
  Mesh mesh;
  mesh.service.options = {.max_queued_frames = 8, .max_queued_bytes = 1 << 20};
  std::mutex gate;
  gate.lock();
  auto client = std::make_shared<ClientSide>();
  client->on_frame = [&](ClientSide&, StepFrame&) { std::lock_guard wait(gate); };
  OpenSession<StepFrame, WorkFrame>(mesh.StartCall(), client);
  auto session = mesh.service.side()->session();
  StepFrame big = Step(1);
  for (int i = 0; i < 20'000; ++i) big.add_token_ids(100'000);
  int sent = 0;
  while (session->Send(big)) {
    REQUIRE(++sent < 1000);
    std::this_thread::sleep_for(1ms);
  }
  REQUIRE(session->closed());
  REQUIRE(mesh.service.side()->WaitClosed().code() == absl::StatusCode::kResourceExhausted);
  gate.unlock();
  REQUIRE_FALSE(client->WaitClosed().ok());
}

TEST_CASE("A session has let go of its channel when it says that it is closed", "[rpc]") {
  Mesh mesh;
  auto channel = *MakeChannel({.target = mesh.address});
  auto stub = v1::WorkerService::NewStub(channel);
  // Holds that are ours: `channel` and the stub's.
  const long ours = channel.use_count();
  class Handler final : public SessionHandler<StepFrame, WorkFrame> {
   public:
    explicit Handler(const std::shared_ptr<grpc::Channel>& channel) : channel_(channel) {}
    void OnOpen(std::shared_ptr<Session<WorkFrame>> session) override { session->Close(); }
    void OnFrame(StepFrame&) override {}
    void OnClosed(const absl::Status&) override { uses_.set_value(channel_.use_count()); }
    std::future<long> uses() { return uses_.get_future(); }

   private:
    const std::shared_ptr<grpc::Channel>& channel_;
    std::promise<long> uses_;
  };
  auto handler = std::make_shared<Handler>(channel);
  auto uses = handler->uses();
  OpenSession<StepFrame, WorkFrame>(
      [&](grpc::ClientContext* context, auto* reactor) {
        stub->async()->Session(context, reactor);
      },
      handler);
  REQUIRE(uses.wait_for(10s) == std::future_status::ready);
  REQUIRE(uses.get() == ours);
}

TEST_CASE("A session to nobody closes as UNAVAILABLE", "[rpc]") {
  auto channel = MakeChannel({.target = "unix:/tmp/weft-nobody-is-here.sock"});
  auto stub = v1::WorkerService::NewStub(*channel);
  auto side = std::make_shared<ClientSide>();
  OpenSession<StepFrame, WorkFrame>(
      [&](grpc::ClientContext* context, auto* reactor) {
        stub->async()->Session(context, reactor);
      },
      side);
  REQUIRE(side->WaitClosed().code() == absl::StatusCode::kUnavailable);
}

TEST_CASE("A draining server ends sessions after the grace period", "[rpc]") {
  Mesh mesh;
  auto client = mesh.Open();
  auto server_side = mesh.service.side();
  client->session()->Send(Cancel(1));
  server_side->WaitFrames(1);
  mesh.server->Drain(50ms);
  REQUIRE_FALSE(client->WaitClosed().ok());
  REQUIRE_FALSE(server_side->WaitClosed().ok());
}

TEST_CASE("SessionDialer dials again when the peer comes back", "[rpc]") {
  Mesh mesh;
  std::mutex mutex;
  std::vector<std::shared_ptr<ClientSide>> sides;
  SessionDialer<StepFrame, WorkFrame> dialer({
      .start_call = mesh.StartCall(),
      .make_handler =
          [&] {
            std::lock_guard lock(mutex);
            return sides.emplace_back(std::make_shared<ClientSide>());
          },
      .session = {},
      .backoff = {.initial = 10ms, .maximum = 50ms},
  });
  dialer.Start();
  mesh.service.side(0)->session()->Send(Step(1));
  mesh.server.reset();
  std::this_thread::sleep_for(50ms);
  mesh.Serve();
  mesh.service.side(1)->session()->Send(Step(2));
  const auto last = [&] {
    std::lock_guard lock(mutex);
    return sides.back();
  };
  REQUIRE(last()->WaitFrames(1)[0].step() == 2);
  dialer.Stop();
  dialer.Stop();
  REQUIRE(last()->WaitClosed().code() == absl::StatusCode::kCancelled);
}

TEST_CASE("SessionDialer stops before it was started and while nobody answers", "[rpc]") {
  auto channel = MakeChannel({.target = "unix:/tmp/weft-nobody-is-here.sock"});
  std::shared_ptr<v1::WorkerService::Stub> stub = v1::WorkerService::NewStub(*channel);
  const auto options = SessionDialer<StepFrame, WorkFrame>::Options{
      .start_call = [stub](grpc::ClientContext* context,
                           auto* reactor) { stub->async()->Session(context, reactor); },
      .make_handler = [] { return std::make_shared<ClientSide>(); },
      .session = {},
      .backoff = {.initial = 60'000ms},
  };
  SessionDialer<StepFrame, WorkFrame> never(options);
  never.Stop();
  SessionDialer<StepFrame, WorkFrame> dialer(options);
  dialer.Start();
  std::this_thread::sleep_for(50ms);
}

}  // namespace
}  // namespace weft::rpc
