#include "tests/support/fake_scheduler.h"

#include <grpcpp/server_context.h>

#include <condition_variable>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <utility>

#include "libs/base/status.h"
#include "libs/rpc/server.h"
#include "libs/rpc/stream_session.h"
#include "weft/v1/scheduler.grpc.pb.h"

namespace weft::test {
namespace {

constexpr size_t kFrameText = 1u << 20;

using Clock = std::chrono::steady_clock;
using SessionPtr = std::shared_ptr<rpc::Session<v1::DeltaFrame>>;

// What one sequence will say.
struct Script {
  std::vector<std::string> tokens;
  std::chrono::milliseconds step{0};
  int error = 0;
  std::string message;
  std::string field;
  bool cut = false;  // by max_tokens
};

std::string LastLine(const v1::Submit& submit) {
  std::string text = submit.prompt();
  if (submit.has_fill_in()) text = submit.fill_in().prefix();
  if (submit.has_chat()) text = submit.chat().messages(submit.chat().messages_size() - 1).content();
  const size_t at = text.rfind('\n');
  return at == std::string::npos ? text : text.substr(at + 1);
}

Script Plan(const v1::Submit& submit) {
  Script script;
  std::istringstream line(LastLine(submit));
  std::string verb;
  line >> verb;
  size_t words = 5;
  if (submit.model() != "fake" && submit.model() != "other") {
    script.error = 5;
    script.message = "no such model";
    return script;
  }
  if (verb == "words") {
    line >> words;
  } else if (verb == "slow") {
    int ms = 0;
    line >> words >> ms;
    script.step = std::chrono::milliseconds(ms);
  } else if (verb == "big") {
    line >> words;
    script.tokens.assign(words, std::string(65536, 'x'));
    words = 0;
  } else if (verb == "error") {
    line >> script.error;
    std::getline(line, script.message);
    words = 0;
  } else if (verb == "late") {
    line >> script.error >> words;
    script.message = "a path: /var/lib/secret";
  } else if (verb == "text:") {
    std::string text;
    std::getline(line, text);
    text.erase(0, 1);
    for (size_t i = 0; i < text.size();) {
      size_t n = 3;
      while (i + n < text.size() && (static_cast<unsigned char>(text[i + n]) & 0xc0) == 0x80) ++n;
      script.tokens.push_back(text.substr(i, n));
      i += n;
    }
    words = 0;
  }
  for (size_t i = 0; i < words; ++i) script.tokens.push_back((i ? " w" : "w") + std::to_string(i));
  if (script.tokens.size() > submit.sampling().max_tokens()) {
    script.tokens.resize(submit.sampling().max_tokens());
    script.cut = true;
  }
  return script;
}

struct Running {
  SessionPtr session;
  v1::Submit submit;
  Script script;
  size_t next = 0;
  uint64_t bytes = 0;
  Clock::time_point due;
  bool accepted = false;
};

class Fake final : public FakeScheduler, public v1::SchedulerService::CallbackService {
 public:
  explicit Fake(const std::string& address) {
    rpc::ServerOptions options;
    options.listen = {address};
    auto server = rpc::Server::Start(options, {{this, v1::SchedulerService::service_full_name()}});
    if (!server.ok()) throw std::runtime_error(ToString(server.status()));
    server_ = std::move(*server);
    thread_ = std::thread([this] { Run(); });
  }
  ~Fake() override {
    Break();
    server_->Drain(std::chrono::milliseconds(200));
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  std::string address() const override { return server_->addresses().front(); }
  FakeSchedulerStats stats() const override {
    std::lock_guard lock(mutex_);
    FakeSchedulerStats stats = stats_;
    stats.running = running_.size();
    return stats;
  }
  std::vector<std::string> submits() const override {
    std::lock_guard lock(mutex_);
    return submits_;
  }
  void Break() override {
    std::set<SessionPtr> sessions;
    {
      std::lock_guard lock(mutex_);
      sessions.swap(sessions_);
      running_.clear();
      draining_ = false;
    }
    for (const SessionPtr& session : sessions)
      session->Abort(Unavailable("the fake scheduler broke"));
  }

  void GreetAgain() override {
    std::lock_guard lock(mutex_);
    for (const SessionPtr& session : sessions_) Greet(session);
  }
  void Drain() override {
    std::lock_guard lock(mutex_);
    draining_ = true;
    for (const SessionPtr& session : sessions_) {
      v1::DeltaFrame frame;
      frame.set_draining(true);
      session->Send(std::move(frame));
    }
  }

  grpc::ServerBidiReactor<v1::GatewayFrame, v1::DeltaFrame>* Session(
      grpc::CallbackServerContext* context) override {
    return rpc::AcceptSession<v1::GatewayFrame, v1::DeltaFrame>(context,
                                                                std::make_shared<Handler>(*this));
  }
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest*,
                                       v1::ListModelsResponse* response) override {
    v1::ModelInfo& model = *response->add_models();
    model.set_id("fake");
    model.set_version("0123456789ab");
    model.set_architecture("llama");
    model.set_quantization("Q4_1");
    model.set_context_length(8192);
    model.set_loaded_at_unix(1'700'000'000);
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override {
    for (const char c : request->text()) response->add_token_ids(static_cast<unsigned char>(c));
    response->set_context_length(8192);
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  class Handler final : public rpc::SessionHandler<v1::GatewayFrame, v1::DeltaFrame> {
   public:
    explicit Handler(Fake& fake) : fake_(fake) {}
    void OnOpen(SessionPtr session) override { session_ = std::move(session); }
    void OnFrame(v1::GatewayFrame& frame) override { fake_.OnFrame(session_, frame); }
    void OnClosed(const absl::Status&) override { fake_.OnClosed(session_); }

   private:
    Fake& fake_;
    SessionPtr session_;
  };

  static void Greet(const SessionPtr& session) {
    v1::DeltaFrame ack;
    ack.mutable_hello_ack()->set_scheduler_id("fake");
    session->Send(std::move(ack));
  }

  void OnFrame(const SessionPtr& session, v1::GatewayFrame& frame) {
    std::lock_guard lock(mutex_);
    if (frame.has_hello()) {
      sessions_.insert(session);
      Greet(session);
    }
    for (v1::Submit& submit : *frame.mutable_submits()) {
      ++stats_.submits;
      submits_.push_back(submit.SerializeAsString());
      if (draining_) {
        ++stats_.refused;
        v1::DeltaFrame refusal;
        v1::Finished& finished = *refusal.add_finished();
        finished.set_handle(submit.handle());
        finished.set_reason(v1::FINISH_REASON_ERROR);
        finished.mutable_error()->set_code(14);
        session->Send(std::move(refusal));
        continue;
      }
      Running running;
      running.session = session;
      running.script = Plan(submit);
      if (submit.has_resume()) {
        ++stats_.resumes;
        running.next = static_cast<size_t>(submit.resume().output_ids_size());
        running.accepted = true;
        for (size_t i = 0; i < running.next; ++i) running.bytes += running.script.tokens[i].size();
      }
      running.due = Clock::now() + running.script.step;
      running.submit = std::move(submit);
      const auto key = std::make_pair(session.get(), running.submit.handle());
      running_.emplace(key, std::move(running));
    }
    for (const uint32_t handle : frame.cancels()) {
      stats_.cancels += running_.erase({session.get(), handle});
    }
    changed_.notify_all();
  }

  void OnClosed(const SessionPtr& session) {
    std::lock_guard lock(mutex_);
    sessions_.erase(session);
    std::erase_if(running_, [&](const auto& entry) { return entry.first.first == session.get(); });
  }

  // Every pass is one step: one frame per session carries all of its sequences.
  void Run() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
      std::map<SessionPtr, v1::DeltaFrame> frames;
      const auto now = Clock::now();
      for (auto it = running_.begin(); it != running_.end();) {
        Running& r = it->second;
        v1::DeltaFrame& frame = frames[r.session];
        const bool done = r.due <= now && Step(r, frame);
        // As the real one, which has a bound too: a frame beyond gRPC's limit ends the session.
        if (frame.text().size() > kFrameText) r.session->Send(std::exchange(frame, {}));
        it = done ? running_.erase(it) : std::next(it);
      }
      for (auto& [session, frame] : frames) {
        if (frame.ByteSizeLong() > 0) session->Send(std::move(frame));
      }
      if (running_.empty()) {
        changed_.wait(lock);
      } else {
        changed_.wait_for(lock, std::chrono::milliseconds(1));
      }
    }
  }

  static bool Step(Running& r, v1::DeltaFrame& frame) {
    const uint32_t handle = r.submit.handle();
    const Script& script = r.script;
    if (!r.accepted && !(script.error != 0 && script.tokens.empty())) {
      r.accepted = true;
      v1::Accepted& accepted = *frame.add_accepted();
      accepted.set_handle(handle);
      for (uint32_t id = 0; id < 7; ++id) accepted.add_prompt_ids(id);
      accepted.set_seed(42);
      accepted.set_model_version("0123456789ab");
      accepted.set_truncated(r.submit.fill_in().extra_size() > 1);
      const std::string prompt = r.submit.has_tokens() ? "token text" : LastLine(r.submit);
      if (r.submit.want_prompt_text()) accepted.set_prompt_text(prompt);
      if (r.submit.sampling().prompt_logprobs()) {
        v1::PromptLogprobs& scored = *frame.add_prompt_logprobs();
        scored.set_handle(handle);
        for (size_t i = 0; i < prompt.size(); ++i) {
          v1::TokenLogprob& entry = *scored.add_tokens();
          entry.set_text(prompt.substr(i, 1));
          entry.set_logprob(i == 0 ? std::numeric_limits<float>::quiet_NaN() : -0.25F);
        }
      }
    }
    if (r.next < script.tokens.size()) {
      const std::string& text = script.tokens[r.next];
      frame.add_handles(handle);
      frame.add_token_counts(1);
      frame.add_token_ids(static_cast<uint32_t>(1000 + r.next));
      frame.add_first_indexes(static_cast<uint32_t>(r.next));
      frame.add_byte_offsets(r.bytes);
      frame.add_text_lengths(static_cast<uint32_t>(text.size()));
      frame.mutable_text()->append(text);
      if (r.submit.sampling().logprobs()) {
        v1::SequenceLogprobs& logprobs = *frame.add_logprobs();
        logprobs.set_handle(handle);
        v1::TokenLogprob& entry = *logprobs.add_tokens();
        entry.set_token_id(static_cast<uint32_t>(1000 + r.next));
        entry.set_logprob(-0.5F / static_cast<float>(r.submit.choice() + 1));
        entry.set_text(text);
        for (uint32_t k = 0; k < r.submit.sampling().top_logprobs(); ++k) {
          entry.add_top_ids(k);
          entry.add_top_logprobs(-0.5F - static_cast<float>(k));
          entry.add_top_texts(k == 0 ? text : "alt" + std::to_string(k));
        }
      }
      r.bytes += text.size();
      ++r.next;
      r.due = Clock::now() + script.step;
      if (r.next < script.tokens.size()) return false;
    }
    v1::Finished& finished = *frame.add_finished();
    finished.set_handle(handle);
    if (script.error != 0) {
      finished.set_reason(v1::FINISH_REASON_ERROR);
      finished.mutable_error()->set_code(script.error);
      finished.mutable_error()->set_message(script.message);
      if (script.error == 8) finished.mutable_error()->mutable_retry_after()->set_seconds(3);
      return true;
    }
    finished.set_reason(script.cut ? v1::FINISH_REASON_LENGTH : v1::FINISH_REASON_STOP);
    finished.mutable_usage()->set_prompt_tokens(7);
    finished.mutable_usage()->set_completion_tokens(static_cast<uint32_t>(r.next));
    finished.mutable_usage()->set_cached_prompt_tokens(3);
    return true;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;
  bool draining_ = false;
  FakeSchedulerStats stats_;
  std::vector<std::string> submits_;
  std::set<SessionPtr> sessions_;
  std::map<std::pair<const void*, uint32_t>, Running> running_;
  std::unique_ptr<rpc::Server> server_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<FakeScheduler> FakeScheduler::Start(std::string address) {
  return std::make_unique<Fake>(address);
}

}  // namespace weft::test
