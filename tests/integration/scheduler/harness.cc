#include "tests/integration/scheduler/harness.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

#include "libs/base/status.h"

namespace weft::testing {
namespace {

using namespace std::chrono_literals;

constexpr char kModel[] = "smollm2";

std::string ModelPath() {
  if (const char* path = std::getenv("WEFT_MODEL")) return path;
  const char* home = std::getenv("WEFT_HOME");
  return std::filesystem::absolute(std::string(home != nullptr ? home : ".weft") +
                                   "/models/SmolLM2-135M-Instruct.Q4_1.gguf")
      .string();
}

}  // namespace

// ---- GatewayClient ----

struct GatewayClient::State {
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::map<uint32_t, Answer> answers;
  std::vector<std::string> violations;
  size_t tokens = 0;
  size_t frames = 0;
  uint32_t next_handle = 1;
  bool greeted = false;
  bool draining = false;
  bool closed = false;

  void Apply(const v1::DeltaFrame& frame) {
    if (frame.has_hello_ack()) greeted = true;
    ++frames;
    draining |= frame.draining();
    for (const v1::Accepted& a : frame.accepted()) {
      // Again only when another version takes it over, before its first token.
      const Answer& known = answers[a.handle()];
      if (known.accepted &&
          (known.accepted->model_version() == a.model_version() || !known.tokens.empty())) {
        violations.push_back("accepted twice");
      }
      answers[a.handle()].accepted = a;
    }
    size_t token = 0;
    size_t byte = 0;
    for (int i = 0; i < frame.handles_size(); ++i) {
      Answer& answer = answers[frame.handles(i)];
      const auto fail = [&](const std::string& what) {
        violations.push_back(fmt::format("handle {}: {}", frame.handles(i), what));
      };
      if (answer.finished) fail("a delta after the end");
      if (frame.token_counts(i) > 0 && frame.first_indexes(i) != answer.tokens.size()) {
        fail(fmt::format("index {} after {} tokens", frame.first_indexes(i), answer.tokens.size()));
      }
      if (frame.byte_offsets(i) != answer.text.size()) {
        fail(fmt::format("offset {} after {} bytes", frame.byte_offsets(i), answer.text.size()));
      }
      for (uint32_t n = 0; n < frame.token_counts(i); ++n) {
        answer.tokens.push_back(frame.token_ids(static_cast<int>(token++)));
        ++tokens;
      }
      answer.text += frame.text().substr(byte, frame.text_lengths(i));
      byte += frame.text_lengths(i);
    }
    for (const v1::PromptLogprobs& l : frame.prompt_logprobs()) {
      auto& to = answers[l.handle()].prompt_logprobs;
      if (l.first_position() != to.size()) violations.push_back("a gap in prompt logprobs");
      to.insert(to.end(), l.tokens().begin(), l.tokens().end());
    }
    for (const v1::SequenceLogprobs& l : frame.logprobs()) {
      auto& to = answers[l.handle()].logprobs;
      to.insert(to.end(), l.tokens().begin(), l.tokens().end());
    }
    for (const v1::Finished& f : frame.finished()) {
      Answer& answer = answers[f.handle()];
      if (answer.finished) violations.push_back("finished twice");
      answer.finished = f;
    }
    changed.notify_all();
  }
};

class GatewayClient::Handler final : public rpc::SessionHandler<v1::DeltaFrame, v1::GatewayFrame> {
 public:
  explicit Handler(std::shared_ptr<State> state) : state_(std::move(state)) {}
  void OnOpen(std::shared_ptr<rpc::Session<v1::GatewayFrame>> session) override {
    v1::GatewayFrame hello;
    hello.mutable_hello()->set_gateway_id("test");
    session->Send(std::move(hello));
  }
  void OnFrame(v1::DeltaFrame& frame) override {
    std::lock_guard lock(state_->mutex);
    state_->Apply(frame);
  }
  void OnClosed(const absl::Status&) override {
    std::lock_guard lock(state_->mutex);
    state_->closed = true;
    state_->changed.notify_all();
  }

 private:
  const std::shared_ptr<State> state_;
};

GatewayClient::GatewayClient(const std::string& target) : state_(std::make_shared<State>()) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto channel = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), args);
  // As in services/scheduler/worker_links.cc: gRPC's callback threads must not end.
  [[maybe_unused]] static const auto* anchor = new std::shared_ptr<grpc::Channel>(channel);
  stub_ = v1::SchedulerService::NewStub(channel);
  session_ = rpc::OpenSession<v1::DeltaFrame, v1::GatewayFrame>(
      [this](grpc::ClientContext* context, auto* reactor) {
        stub_->async()->Session(context, reactor);
      },
      std::make_shared<Handler>(state_));
}

GatewayClient::~GatewayClient() {
  session_->Abort(Cancelled("the test is over"));
  std::unique_lock lock(state_->mutex);
  state_->changed.wait_for(lock, 10s, [this] { return state_->closed; });
}

uint32_t GatewayClient::Submit(v1::Submit submit) {
  v1::GatewayFrame frame;
  uint32_t handle = 0;
  {
    std::lock_guard lock(state_->mutex);
    handle = state_->next_handle++;
  }
  submit.set_handle(handle);
  if (submit.request_id().empty()) submit.set_request_id(fmt::format("test-{}", handle));
  *frame.add_submits() = std::move(submit);
  session_->Send(std::move(frame));
  return handle;
}

void GatewayClient::Cancel(uint32_t handle) {
  v1::GatewayFrame frame;
  frame.add_cancels(handle);
  session_->Send(std::move(frame));
}

Answer GatewayClient::Get(uint32_t handle) const {
  std::lock_guard lock(state_->mutex);
  return state_->answers[handle];
}

bool GatewayClient::WaitFinished(const std::vector<uint32_t>& handles,
                                 std::chrono::milliseconds limit) {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, limit, [&] {
    for (const uint32_t h : handles) {
      if (!state_->answers[h].finished) return false;
    }
    return true;
  });
}

bool GatewayClient::WaitTokens(size_t tokens, std::chrono::milliseconds limit) {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, limit, [&] { return state_->tokens >= tokens; });
}

bool GatewayClient::WaitTokensOf(uint32_t handle, size_t tokens, std::chrono::milliseconds limit) {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, limit,
                                  [&] { return state_->answers[handle].tokens.size() >= tokens; });
}

size_t GatewayClient::frames() const {
  std::lock_guard lock(state_->mutex);
  return state_->frames;
}
bool GatewayClient::told_draining() const {
  std::lock_guard lock(state_->mutex);
  return state_->draining;
}
bool GatewayClient::closed() const {
  std::lock_guard lock(state_->mutex);
  return state_->closed;
}
std::vector<std::string> GatewayClient::violations() const {
  std::lock_guard lock(state_->mutex);
  return state_->violations;
}

// ---- Mesh ----

Mesh::Mesh() : config_(dir_.path() + "/mesh.yaml") {
  std::ofstream(config_) << fmt::format(
      "worker:\n"
      "  model: {}\n"
      "  model_id: {}\n"
      "  threads: 1\n"
      "  kv_bytes: 256MiB\n"
      "  admin_listen: 127.0.0.1:0\n"
      "scheduler:\n"
      "  admin_listen: 127.0.0.1:0\n"
      "telemetry:\n"
      "  traces:\n"
      "    enabled: false\n",
      ModelPath(), kModel);
}

std::string Mesh::SchedulerTarget(int index) const {
  return fmt::format("unix:{}/s{}.sock", dir_.path(), index);
}
std::string Mesh::WorkerTarget(int index) const {
  return fmt::format("unix:{}/w{}.sock", dir_.path(), index);
}

void Mesh::StartWorker(int index, const std::vector<std::string>& sets, bool allow_faults) {
  workers_.erase(index);
  std::vector<std::string> argv = {BinaryDir() + "/weft-worker",
                                   "--config",
                                   config_,
                                   "--set",
                                   "worker.listen=" + WorkerTarget(index),
                                   "--set",
                                   fmt::format("worker.worker_id=w{}", index)};
  for (const std::string& set : sets) argv.insert(argv.end(), {"--set", set});
  std::vector<std::pair<std::string, std::string>> environment;
  if (allow_faults) environment.emplace_back("WEFT_ALLOW_FAULT_INJECTION", "1");
  workers_[index] =
      std::make_unique<Process>(argv, fmt::format("{}/w{}.log", dir_.path(), index), environment);
}

void Mesh::StartScheduler(int index, int workers, const std::vector<std::string>& sets) {
  std::string list;
  for (int i = 0; i < workers; ++i) list += (i > 0 ? "," : "") + WorkerTarget(i);
  std::vector<std::string> argv = {BinaryDir() + "/weft-scheduler",
                                   "--config",
                                   config_,
                                   "--set",
                                   "scheduler.listen=" + SchedulerTarget(index),
                                   "--set",
                                   "scheduler.workers=" + list};
  for (const std::string& set : sets) argv.insert(argv.end(), {"--set", set});
  schedulers_[index] =
      std::make_unique<Process>(argv, fmt::format("{}/s{}.log", dir_.path(), index));
}

std::optional<v1::DescribeResponse> Mesh::Describe(int worker) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto stub = v1::WorkerService::NewStub(
      grpc::CreateCustomChannel(WorkerTarget(worker), grpc::InsecureChannelCredentials(), args));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + 2s);
  v1::DescribeResponse response;
  if (!stub->Describe(&context, {}, &response).ok()) return std::nullopt;
  return response;
}

std::unique_ptr<GatewayClient> Mesh::Connect(int scheduler) {
  const auto until = std::chrono::steady_clock::now() + 60s;
  for (;;) {
    auto client = std::make_unique<GatewayClient>(SchedulerTarget(scheduler));
    // A tokenizer that answers means that a worker has welcomed and its tokenizer has come.
    for (int i = 0; i < 50 && !client->closed(); ++i) {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + 5s);
      v1::TokenizeRequest request;
      request.set_model(kModel);
      request.set_text("x");
      v1::TokenizeResponse response;
      if (client->stub().Tokenize(&context, request, &response).ok()) return client;
      std::this_thread::sleep_for(50ms);
    }
    if (std::chrono::steady_clock::now() > until) {
      fmt::print(stderr, "the mesh does not get ready:\n{}\n", Logs());
      std::abort();
    }
  }
}

std::string Mesh::Logs() const {
  std::stringstream all;
  for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
    if (entry.path().extension() != ".log") continue;
    all << "---- " << entry.path().filename().string() << "\n"
        << std::ifstream(entry.path()).rdbuf();
  }
  return all.str();
}

v1::Submit PromptRequest(const std::string& prompt, uint32_t max_tokens) {
  v1::Submit s;
  s.set_model(kModel);
  s.set_prompt(prompt);
  v1::SamplingParams& p = *s.mutable_sampling();
  p.set_temperature(0);
  p.set_top_p(1);
  p.set_repetition_penalty(1);
  p.set_max_tokens(max_tokens);
  p.set_ignore_eos(true);
  s.set_share_key("test");
  return s;
}

v1::Submit SeededRequest(const std::string& prompt, uint32_t max_tokens, uint64_t seed) {
  v1::Submit s = PromptRequest(prompt, max_tokens);
  s.mutable_sampling()->set_temperature(0.8F);
  s.mutable_sampling()->set_top_p(0.95F);
  s.mutable_sampling()->set_seed(seed);
  return s;
}

std::vector<v1::Submit> MixedRequests(int count, uint32_t max_tokens) {
  const std::vector<std::string> subjects = {"a list of primes", "a binary tree", "the moon",
                                             "a small web server", "an old clock"};
  std::vector<v1::Submit> all;
  for (int i = 0; i < count; ++i) {
    const std::string prompt = fmt::format("Note {}. A text about {}:\n", i,
                                           subjects[static_cast<size_t>(i) % subjects.size()]);
    all.push_back(i % 2 == 0 ? PromptRequest(prompt, max_tokens)
                             : SeededRequest(prompt, max_tokens, 1000 + static_cast<uint64_t>(i)));
  }
  return all;
}

}  // namespace weft::testing
