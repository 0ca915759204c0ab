#include "services/scheduler/scheduler_service.h"

#include <thread>
#include <utility>
#include <vector>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/rpc/status.h"
#include "services/scheduler/dispatcher.h"

namespace weft::scheduler {
namespace {

using GatewaySession = rpc::Session<v1::DeltaFrame>;

// As in worker_links.cc: beyond, the dispatcher keeps deltas to itself and merges them.
constexpr size_t kMaxQueuedFrames = 4;

absl::Status Busy() {
  return WithRetryAfter(ResourceExhausted("the scheduler is overloaded"),
                        std::chrono::milliseconds(1000));
}

}  // namespace

struct SchedulerService::Sessions {
  mutable std::mutex mutex;
  std::unordered_map<uint64_t, std::shared_ptr<GatewaySession>> open;
  uint64_t next = 1;

  std::shared_ptr<GatewaySession> Find(uint64_t id) const {
    std::lock_guard lock(mutex);
    const auto it = open.find(id);
    return it == open.end() ? nullptr : it->second;
  }
};

class SchedulerService::Handler final
    : public rpc::SessionHandler<v1::GatewayFrame, v1::DeltaFrame> {
 public:
  explicit Handler(SchedulerService& service) : service_(service), sessions_(service.sessions_) {}

  void OnOpen(std::shared_ptr<GatewaySession> session) override {
    session_ = std::move(session);
    std::lock_guard lock(sessions_->mutex);
    id_ = sessions_->next++;
    sessions_->open[id_] = session_;
  }

  void OnFrame(v1::GatewayFrame& frame) override {
    if (!greeted_) {
      if (!frame.has_hello()) {
        session_->Abort(InvalidArgument("hello: the first frame must say hello"));
        return;
      }
      greeted_ = true;
      v1::DeltaFrame answer;
      answer.mutable_hello_ack()->set_scheduler_id(service_.scheduler_id_);
      session_->Send(std::move(answer));
      if (!Post([id = id_](Dispatcher& d) { d.OnGatewayOpen(id); })) return;
    }
    const size_t bytes = frame.ByteSizeLong();
    Post([id = id_, frame = std::move(frame)](
             Dispatcher& d) mutable { d.OnGatewayFrame(id, std::move(frame)); },
         bytes);
  }

  void OnClosed(const absl::Status&) override {
    {
      std::lock_guard lock(sessions_->mutex);
      sessions_->open.erase(id_);
    }
    // Must arrive, or its requests would run for nobody: a full queue is a matter of milliseconds.
    while (greeted_ && !Post([id = id_](Dispatcher& d) { d.OnGatewayClosed(id); }) &&
           !service_.closing_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    session_.reset();
  }

 private:
  template <typename F>
  bool Post(F event, size_t bytes = 0) {
    Dispatcher* dispatcher = service_.dispatcher_.get();
    const bool posted = service_.loop_.Post(
        [dispatcher, event = std::move(event)]() mutable { event(*dispatcher); }, bytes);
    if (!posted && session_) session_->Abort(Busy());
    return posted;
  }

  SchedulerService& service_;
  const std::shared_ptr<Sessions> sessions_;
  std::shared_ptr<GatewaySession> session_;
  uint64_t id_ = 0;
  bool greeted_ = false;
};

SchedulerService::SchedulerService(std::string scheduler_id, EventLoop& loop,
                                   const std::unique_ptr<Dispatcher>& dispatcher,
                                   TokenizerStore& store, PromptPreparer& preparer)
    : scheduler_id_(std::move(scheduler_id)),
      loop_(loop),
      dispatcher_(dispatcher),
      store_(store),
      preparer_(preparer),
      sessions_(std::make_shared<Sessions>()) {}

SchedulerService::~SchedulerService() = default;

grpc::ServerBidiReactor<v1::GatewayFrame, v1::DeltaFrame>* SchedulerService::Session(
    grpc::CallbackServerContext* context) {
  rpc::SessionOptions options;
  options.max_queued_bytes = size_t{64} << 20;
  return rpc::AcceptSession<v1::GatewayFrame, v1::DeltaFrame>(
      context, std::make_shared<Handler>(*this), options);
}

grpc::ServerUnaryReactor* SchedulerService::ListModels(grpc::CallbackServerContext* context,
                                                       const v1::ListModelsRequest*,
                                                       v1::ListModelsResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const bool posted = loop_.Post([this, reactor, response] {
    for (v1::ModelInfo& info : dispatcher_->Models()) *response->add_models() = std::move(info);
    reactor->Finish(grpc::Status::OK);
  });
  if (!posted) reactor->Finish(rpc::ToGrpcStatus(Busy()));
  return reactor;
}

grpc::ServerUnaryReactor* SchedulerService::Tokenize(grpc::CallbackServerContext* context,
                                                     const v1::TokenizeRequest* request,
                                                     v1::TokenizeResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto fail = [reactor](const absl::Status& s) { reactor->Finish(rpc::ToGrpcStatus(s)); };
  // The loop knows the models; the pool tokenises.
  const bool posted = loop_.Post([this, reactor, request, response, fail] {
    v1::ModelInfo info;
    for (v1::ModelInfo& m : dispatcher_->Models()) {
      if (m.id() == request->model()) info = std::move(m);
    }
    const auto tokenizer = store_.Find(info.tokenizer_sha256());
    if (info.id().empty() && !dispatcher_->HasWorker()) {
      return fail(WithRetryAfter(Unavailable("no worker is connected"), std::chrono::seconds(2)));
    }
    if (info.id().empty()) {
      return fail(WithField(NotFound("model: {} is not known", request->model()), "model"));
    }
    if (tokenizer == nullptr) {
      return fail(WithRetryAfter(Unavailable("the tokenizer of {} is being fetched", info.id()),
                                 std::chrono::seconds(1)));
    }
    response->set_context_length(info.context_length());
    const bool queued = preparer_.TryRun([reactor, request, response, tokenizer, fail] {
      std::vector<uint32_t> ids;
      if (request->has_chat()) {
        auto encoded = tokenizer->EncodeChat(request->chat(), true);
        if (!encoded.ok()) return fail(WithField(encoded.status(), "messages"));
        ids = *std::move(encoded);
      } else {
        ids = tokenizer->Encode(request->text(), request->add_special());
      }
      response->mutable_token_ids()->Add(ids.begin(), ids.end());
      reactor->Finish(grpc::Status::OK);
    });
    if (!queued) fail(Busy());
  });
  if (!posted) fail(Busy());
  return reactor;
}

void SchedulerService::Write(uint64_t id, v1::DeltaFrame frame) {
  if (const auto session = sessions_->Find(id)) session->Send(std::move(frame));
}

void SchedulerService::Close(uint64_t id, int code, std::string message) {
  if (const auto session = sessions_->Find(id)) {
    session->Abort(absl::Status(static_cast<absl::StatusCode>(code), AbslView(message)));
  }
}

bool SchedulerService::Writable(uint64_t id) const {
  const auto session = sessions_->Find(id);
  return session == nullptr || session->queued_frames() < kMaxQueuedFrames;
}

void SchedulerService::CloseAll() {
  closing_ = true;
  std::vector<std::shared_ptr<GatewaySession>> all;
  {
    std::lock_guard lock(sessions_->mutex);
    for (const auto& [id, session] : sessions_->open) all.push_back(session);
  }
  for (const auto& session : all) session->Close();
}

}  // namespace weft::scheduler
