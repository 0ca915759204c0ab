#include "services/worker/worker_service.h"

#include <algorithm>
#include <mutex>
#include <set>
#include <utility>

#include "libs/base/status.h"
#include "libs/config/cli.h"
#include "libs/rpc/status.h"
#include "libs/rpc/stream_session.h"
#include "services/worker/wire.h"

namespace weft::worker {
namespace {

using SchedulerSession = rpc::Session<v1::StepFrame>;

constexpr size_t kChunkBytes = size_t{1} << 20;

class SessionSink final : public FrameSink {
 public:
  explicit SessionSink(std::shared_ptr<SchedulerSession> session) : session_(std::move(session)) {}
  void Send(v1::StepFrame frame) override { session_->Send(std::move(frame)); }
  size_t queued() const override { return session_->queued_frames(); }
  void Abort(const absl::Status& status) override { session_->Abort(status); }

 private:
  const std::shared_ptr<SchedulerSession> session_;
};

// Writes the pieces of a string that outlives the call.
class ChunkWriter final : public grpc::ServerWriteReactor<v1::TokenizerChunk> {
 public:
  explicit ChunkWriter(const std::string& bytes) : bytes_(bytes) { Next(); }
  explicit ChunkWriter(const absl::Status& error) : bytes_(none_) {
    Finish(rpc::ToGrpcStatus(error));
  }
  void OnWriteDone(bool ok) override {
    if (ok) {
      Next();
    } else {
      Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the client went away"));
    }
  }
  void OnDone() override { delete this; }

 private:
  void Next() {
    if (at_ >= bytes_.size()) {
      Finish(grpc::Status::OK);
      return;
    }
    chunk_.set_data(bytes_.substr(at_, kChunkBytes));
    at_ += kChunkBytes;
    StartWrite(&chunk_);
  }
  const std::string none_;
  const std::string& bytes_;
  size_t at_ = 0;
  v1::TokenizerChunk chunk_;
};

}  // namespace

struct WorkerService::Sessions {
  std::mutex mutex;
  std::set<std::shared_ptr<SchedulerSession>> open;
};

class WorkerService::Handler final : public rpc::SessionHandler<v1::WorkFrame, v1::StepFrame> {
 public:
  Handler(SessionHub& hub, std::shared_ptr<Sessions> sessions)
      : hub_(hub), sessions_(std::move(sessions)) {}

  void OnOpen(std::shared_ptr<SchedulerSession> session) override {
    session_ = std::move(session);
    std::lock_guard lock(sessions_->mutex);
    sessions_->open.insert(session_);
  }
  void OnFrame(v1::WorkFrame& frame) override {
    if (id_ == 0) {
      if (!frame.has_hello()) {
        session_->Abort(InvalidArgument("hello: the first frame must say hello"));
        return;
      }
      auto id = hub_.Open(frame.hello(), std::make_shared<SessionSink>(session_));
      if (!id.ok()) {
        session_->Abort(id.status());
        return;
      }
      id_ = *id;
    }
    hub_.OnWork(id_, frame);
  }
  void OnClosed(const absl::Status&) override {
    if (id_ != 0) hub_.OnClosed(id_);
    std::lock_guard lock(sessions_->mutex);
    sessions_->open.erase(session_);
  }

 private:
  SessionHub& hub_;
  const std::shared_ptr<Sessions> sessions_;
  std::shared_ptr<SchedulerSession> session_;
  uint64_t id_ = 0;
};

WorkerService::WorkerService(std::string worker_id, SessionHub& hub,
                             const std::vector<std::unique_ptr<ModelHost>>& models)
    : worker_id_(std::move(worker_id)),
      hub_(hub),
      models_(models),
      sessions_(std::make_shared<Sessions>()) {}

WorkerService::~WorkerService() = default;

grpc::ServerBidiReactor<v1::WorkFrame, v1::StepFrame>* WorkerService::Session(
    grpc::CallbackServerContext* context) {
  return rpc::AcceptSession<v1::WorkFrame, v1::StepFrame>(
      context, std::make_shared<Handler>(hub_, sessions_));
}

grpc::ServerUnaryReactor* WorkerService::Describe(grpc::CallbackServerContext* context,
                                                  const v1::DescribeRequest*,
                                                  v1::DescribeResponse* response) {
  response->set_worker_id(worker_id_);
  response->set_version(config::Version());
  response->set_device("cpu");
  for (const auto& model : models_) {
    response->set_isa(model->isa());
    response->set_threads(static_cast<uint32_t>(model->threads()));
    *response->add_models() = model->info();
    v1::EngineStats& stats = *response->add_stats();
    ToWire(model->Stats(), &stats);
    stats.set_model(model->info().id());
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<v1::TokenizerChunk>* WorkerService::GetTokenizer(
    grpc::CallbackServerContext*, const v1::GetTokenizerRequest* request) {
  for (const auto& model : models_) {
    if (model->info().tokenizer_sha256() == request->sha256()) {
      return new ChunkWriter(model->tokenizer_bytes());
    }
  }
  return new ChunkWriter(NotFound("sha256: no model here has this tokenizer"));
}

void WorkerService::CloseAll() {
  std::vector<std::shared_ptr<SchedulerSession>> all;
  {
    std::lock_guard lock(sessions_->mutex);
    all.assign(sessions_->open.begin(), sessions_->open.end());
  }
  for (const auto& session : all) session->Close();
}

}  // namespace weft::worker
