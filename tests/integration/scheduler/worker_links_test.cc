// The scheduler's sessions with workers that come, go, die and change their addresses.
#include "services/scheduler/worker_links.h"

#include <grpcpp/server_context.h>

#include <atomic>
#include <condition_variable>
#include <thread>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/gguf/gguf_writer.h"
#include "libs/rpc/server.h"
#include "libs/rpc/stream_session.h"
#include "tests/support/catch.h"
#include "weft/v1/worker.grpc.pb.h"

using namespace std::chrono_literals;
namespace v1 = weft::v1;
namespace rpc = weft::rpc;
using weft::scheduler::Config;
using weft::scheduler::TokenizerStore;
using weft::scheduler::WorkerEvents;
using weft::scheduler::WorkerLinks;

namespace {

// A byte-level vocabulary of two tokens, as a worker ships it.
struct Shipped {
  std::string bytes;
  std::string sha256;
  Shipped() {
    weft::GgufWriter writer;
    writer.AddString("tokenizer.ggml.model", "gpt2");
    writer.AddString("tokenizer.ggml.pre", "gpt-2");
    writer.AddStringArray("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
    writer.AddInt32Array("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1});
    writer.AddStringArray("tokenizer.ggml.merges", std::vector<std::string>{});
    bytes = writer.Finish();
    sha256 = weft::MetadataSha256(*weft::GgufFile::FromBytes(bytes).value());
  }
};

bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 3000 && !condition(); ++i) std::this_thread::sleep_for(10ms);
  return condition();
}

// Welcomes, sends an empty frame when told to, and ships the tokenizer, or only its first half.
class FakeWorker final : public v1::WorkerService::CallbackService {
 public:
  explicit FakeWorker(const Shipped& shipped, std::string address = "127.0.0.1:0",
                      bool stops_halfway = false)
      : shipped_(shipped), stops_halfway_(stops_halfway) {
    rpc::ServerOptions options;
    options.listen = {std::move(address)};
    server_ = rpc::Server::Start(options, {{this, v1::WorkerService::service_full_name()}}).value();
  }
  ~FakeWorker() override { Die(); }

  // What it has open breaks.
  void Die() { server_->Drain(0ns); }
  const std::string& address() const { return server_->addresses()[0]; }
  size_t sessions() const { return Locked(&FakeWorker::open_).size(); }
  int welcomed() const { return welcomed_; }
  int fetches() const { return fetches_; }
  void Beat() {
    for (const auto& session : Locked(&FakeWorker::open_)) session->Send({});
  }

  grpc::ServerBidiReactor<v1::WorkFrame, v1::StepFrame>* Session(
      grpc::CallbackServerContext* context) override {
    return rpc::AcceptSession<v1::WorkFrame, v1::StepFrame>(context,
                                                            std::make_shared<Handler>(*this));
  }
  grpc::ServerWriteReactor<v1::TokenizerChunk>* GetTokenizer(
      grpc::CallbackServerContext*, const v1::GetTokenizerRequest*) override {
    ++fetches_;
    return new Sender(shipped_.bytes, stops_halfway_);
  }

 private:
  using SessionPtr = std::shared_ptr<rpc::Session<v1::StepFrame>>;

  class Handler final : public rpc::SessionHandler<v1::WorkFrame, v1::StepFrame> {
   public:
    explicit Handler(FakeWorker& worker) : worker_(worker) {}
    void OnOpen(SessionPtr session) override { session_ = std::move(session); }
    void OnFrame(v1::WorkFrame& frame) override {
      if (!frame.has_hello()) return;
      v1::StepFrame answer;
      v1::WorkerWelcome& welcome = *answer.mutable_welcome();
      welcome.set_worker_id(worker_.address());
      welcome.set_epoch(frame.hello().epoch());
      v1::ModelInfo& model = *welcome.add_models();
      model.set_id("m");
      model.set_tokenizer_sha256(worker_.shipped_.sha256);
      session_->Send(std::move(answer));
      std::lock_guard lock(worker_.mutex_);
      worker_.open_.push_back(session_);
      ++worker_.welcomed_;
    }
    void OnClosed(const absl::Status&) override {
      std::lock_guard lock(worker_.mutex_);
      std::erase(worker_.open_, session_);
    }

   private:
    FakeWorker& worker_;
    SessionPtr session_;
  };

  class Sender final : public grpc::ServerWriteReactor<v1::TokenizerChunk> {
   public:
    Sender(const std::string& bytes, bool stops_halfway)
        : bytes_(bytes), stops_halfway_(stops_halfway) {
      chunk_.set_data(bytes_.substr(0, bytes_.size() / 2));
      StartWrite(&chunk_);
    }
    void OnWriteDone(bool ok) override {
      if (!ok) return End(grpc::Status::CANCELLED);
      if (stops_halfway_) return;  // until OnCancel
      if (std::exchange(half_, false)) {
        chunk_.set_data(bytes_.substr(bytes_.size() / 2));
        StartWrite(&chunk_);
      } else {
        End(grpc::Status::OK);
      }
    }
    void OnCancel() override { End(grpc::Status::CANCELLED); }
    void OnDone() override { delete this; }

   private:
    void End(const grpc::Status& status) {
      if (!ended_.exchange(true)) Finish(status);
    }
    const std::string bytes_;
    const bool stops_halfway_;
    v1::TokenizerChunk chunk_;
    bool half_ = true;
    std::atomic<bool> ended_{false};
  };

  template <typename T>
  T Locked(T FakeWorker::*member) const {
    std::lock_guard lock(mutex_);
    return this->*member;
  }

  const Shipped& shipped_;
  const bool stops_halfway_;
  mutable std::mutex mutex_;
  std::vector<SessionPtr> open_;
  std::atomic<int> welcomed_{0};
  std::atomic<int> fetches_{0};
  std::unique_ptr<rpc::Server> server_;
};

// What the links told.
struct Told {
  std::atomic<int> lost{0};
  std::atomic<int> tokenizers{0};
  std::atomic<int> troubles{0};
  WorkerEvents Events() {
    WorkerEvents e;
    e.on_welcome = [](uint64_t, const v1::WorkerWelcome&) {};
    e.on_frame = [](uint64_t, const v1::StepFrame&) {};
    e.on_lost = [this](uint64_t, const absl::Status&) { ++lost; };
    e.on_tokenizer = [this](const std::string&) { ++tokenizers; };
    e.on_trouble = [this](const std::string&, const absl::Status&) { ++troubles; };
    return e;
  }
};

Config Quick(std::vector<std::string> workers) {
  Config config;
  config.workers = std::move(workers);
  config.reconnect_min = 5ms;
  config.reconnect_max = 50ms;
  config.dns_interval = 20ms;
  return config;
}

}  // namespace

TEST_CASE("A tokenizer whose worker dies in the middle of it comes from another worker",
          "[integration]") {
  const Shipped shipped;
  TokenizerStore store;
  Told told;
  FakeWorker half(shipped, "127.0.0.1:0", true);
  FakeWorker whole(shipped);
  WorkerLinks links(Quick({half.address(), whole.address()}), "s", store, told.Events());
  REQUIRE(links.Start().ok());
  REQUIRE(Eventually([&] { return half.welcomed() == 1 && whole.welcomed() == 1; }));
  SECTION("one that was asked later") {
    REQUIRE(Eventually([&] { return half.fetches() + whole.fetches() > 0; }));
  }
  SECTION("one whose session is newer") {
    whole.Beat();
    half.Beat();
  }
  half.Die();
  REQUIRE(Eventually([&] {
    whole.Beat();  // as every second
    return told.tokenizers == 1;
  }));
  CHECK(whole.fetches() == 1);
  CHECK(store.Find(shipped.sha256) != nullptr);
  links.Stop();
}

TEST_CASE("A tokenizer that cannot be used makes its worker be dialled ever more rarely",
          "[integration]") {
  Shipped shipped;
  shipped.sha256 = std::string(64, '0');  // what comes will not have it
  TokenizerStore store;
  Told told;
  FakeWorker worker(shipped);
  Config config = Quick({worker.address()});
  config.reconnect_min = 10ms;
  config.reconnect_max = 10'000ms;
  const auto begin = std::chrono::steady_clock::now();
  WorkerLinks links(config, "s", store, told.Events());
  REQUIRE(links.Start().ok());
  REQUIRE(Eventually([&] {
    worker.Beat();
    return worker.welcomed() >= 6;
  }));
  // Five pauses of 10, 20, 40, 80 and 160 ms, each at least 80 % of that.
  CHECK(std::chrono::steady_clock::now() - begin >= 248ms);
  CHECK(store.Find(shipped.sha256) == nullptr);
  links.Stop();
}

TEST_CASE("All addresses of a name are dialled, and followed as they change", "[integration]") {
  const Shipped shipped;
  TokenizerStore store;
  Told told;
  auto first = std::make_unique<FakeWorker>(shipped);
  FakeWorker second(shipped);
  FakeWorker third(shipped);
  const std::string first_address = first->address();
  std::mutex mutex;
  absl::StatusOr<std::vector<std::string>> answer = weft::Unavailable("no such name yet");
  std::atomic<int> asked{0};
  const auto tell = [&](std::vector<std::string> addresses) {
    std::sort(addresses.begin(), addresses.end());
    std::lock_guard lock(mutex);
    answer = std::move(addresses);
  };
  WorkerLinks links(Quick({"dns:///worker.weft.svc:7000"}), "s", store, told.Events(),
                    [&](const std::string& name) {
                      CHECK(name == "worker.weft.svc:7000");
                      ++asked;
                      std::lock_guard lock(mutex);
                      return answer;
                    });
  REQUIRE(links.Start().ok());
  REQUIRE(Eventually([&] { return told.troubles >= 2; }));  // said, and asked again

  tell({first_address, second.address()});
  REQUIRE(Eventually([&] { return first->sessions() == 1 && second.sessions() == 1; }));
  CHECK(third.welcomed() == 0);

  // The first leaves the name: as long as its session is open it goes on.
  tell({second.address(), third.address()});
  REQUIRE(Eventually([&] { return third.sessions() == 1; }));
  CHECK(first->sessions() == 1);
  first.reset();
  REQUIRE(Eventually([&] { return told.lost == 1; }));
  const int since = asked;
  REQUIRE(Eventually([&] { return asked >= since + 3; }));  // now it is forgotten
  FakeWorker stranger(shipped, first_address);
  const int then = asked;
  REQUIRE(Eventually([&] { return asked >= then + 10; }));  // four times the longest pause
  CHECK(stranger.welcomed() == 0);
  CHECK(second.welcomed() == 1);
  links.Stop();
}

TEST_CASE("The system's resolver gives targets, and numbers stand for themselves",
          "[integration]") {
  using weft::scheduler::LookUpAddresses;
  CHECK(LookUpAddresses("127.0.0.1:7000").value() == std::vector<std::string>{"127.0.0.1:7000"});
  CHECK(LookUpAddresses("::1:7000").value() == std::vector<std::string>{"[::1]:7000"});
  CHECK(absl::IsInvalidArgument(LookUpAddresses("worker").status()));
  // Where the hosts file knows it, with every address it has.
  const auto local = LookUpAddresses("localhost:7000");
  if (local.ok()) {
    for (const std::string& target : *local) {
      CHECK((target == "127.0.0.1:7000" || target == "[::1]:7000"));
    }
  }
}
