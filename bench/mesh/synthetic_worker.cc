#include "bench/mesh/synthetic_worker.h"

#include <atomic>
#include <memory>
#include <thread>
#include <utility>

#include "libs/base/shutdown.h"
#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/rpc/server.h"
#include "libs/rpc/status.h"
#include "libs/rpc/stream_session.h"
#include "weft/v1/worker.grpc.pb.h"

namespace weft::bench {
namespace {

using SchedulerSession = rpc::Session<v1::StepFrame>;

class Sink final : public worker::FrameSink {
 public:
  explicit Sink(std::shared_ptr<SchedulerSession> session) : session_(std::move(session)) {}
  void Send(v1::StepFrame frame) override { session_->Send(std::move(frame)); }
  size_t queued() const override { return session_->queued_frames(); }
  void Abort(const absl::Status& status) override { session_->Abort(status); }

 private:
  const std::shared_ptr<SchedulerSession> session_;
};

class Handler final : public rpc::SessionHandler<v1::WorkFrame, v1::StepFrame> {
 public:
  explicit Handler(worker::SessionHub& hub) : hub_(hub) {}
  void OnOpen(std::shared_ptr<SchedulerSession> session) override { session_ = std::move(session); }
  void OnFrame(v1::WorkFrame& frame) override {
    if (id_ == 0) {
      auto id = hub_.Open(frame.hello(), std::make_shared<Sink>(session_));
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
  }

 private:
  worker::SessionHub& hub_;
  std::shared_ptr<SchedulerSession> session_;
  uint64_t id_ = 0;
};

class Service final
    : public v1::WorkerService::WithCallbackMethod_Session<
          v1::WorkerService::WithCallbackMethod_GetTokenizer<v1::WorkerService::Service>> {
 public:
  Service(worker::SessionHub& hub, std::string tokenizer)
      : hub_(hub), tokenizer_(std::move(tokenizer)) {}

  grpc::ServerBidiReactor<v1::WorkFrame, v1::StepFrame>* Session(
      grpc::CallbackServerContext* context) override {
    return rpc::AcceptSession<v1::WorkFrame, v1::StepFrame>(context,
                                                            std::make_shared<Handler>(hub_));
  }
  grpc::ServerWriteReactor<v1::TokenizerChunk>* GetTokenizer(
      grpc::CallbackServerContext*, const v1::GetTokenizerRequest*) override {
    class Writer final : public grpc::ServerWriteReactor<v1::TokenizerChunk> {
     public:
      explicit Writer(const std::string& bytes) : bytes_(bytes) { Next(); }
      void OnWriteDone(bool) override { Next(); }
      void OnDone() override { delete this; }

     private:
      void Next() {
        if (at_ >= bytes_.size()) return Finish(grpc::Status::OK);
        chunk_.set_data(bytes_.substr(at_, 1u << 20));
        at_ += 1u << 20;
        StartWrite(&chunk_);
      }
      const std::string& bytes_;
      size_t at_ = 0;
      v1::TokenizerChunk chunk_;
    };
    return new Writer(tokenizer_);
  }

 private:
  worker::SessionHub& hub_;
  const std::string tokenizer_;
};

}  // namespace

absl::Status RunSyntheticWorker(const SyntheticWorkerOptions& options) {
  ShutdownSignal signal;
  WEFT_ASSIGN_OR_RETURN(const auto file, GgufFile::Open(options.model_path));
  v1::ModelInfo info;
  info.set_id(options.model_id);
  info.set_version("synthetic");
  info.set_context_length(1u << 20);
  info.set_vocab_size(49152);
  info.set_tokenizer_sha256(MetadataSha256(*file));
  info.set_weights_sha256("synthetic");
  info.set_numerics_class("synthetic");
  PacedEngine engine(info, options.engine);
  worker::SessionHub hub("synthetic", {&engine}, {}, nullptr);
  engine.Start([&](const engine::StepOutput& output) { hub.OnStep(0, output); });
  std::atomic<bool> stop{false};
  std::thread ticker([&] {
    while (!stop) {
      hub.Tick();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  Service service(hub, SerializeMetadata(*file));
  rpc::ServerOptions server_options;
  server_options.listen = {options.listen};
  auto server =
      rpc::Server::Start(server_options, {{&service, v1::WorkerService::service_full_name()}});
  if (server.ok()) {
    (*server)->SetServing(true);
    signal.Wait();
    (*server)->Drain(std::chrono::seconds(1));
  }
  stop = true;
  ticker.join();
  return server.status();
}

}  // namespace weft::bench
