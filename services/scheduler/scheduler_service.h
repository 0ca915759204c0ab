// SchedulerService over gRPC: gateways' sessions, and the two unary calls.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "libs/rpc/stream_session.h"
#include "services/scheduler/event_loop.h"
#include "services/scheduler/ports.h"
#include "services/scheduler/prompt_preparer.h"
#include "weft/v1/scheduler.grpc.pb.h"

namespace weft::scheduler {

class Dispatcher;

// gRPC's threads call the service; the loop's thread calls the port. Frames from gateways are
// posted to the loop, in order.
class SchedulerService final : public v1::SchedulerService::CallbackService, public GatewayPort {
 public:
  // All must outlive the service. The dispatcher belongs to the loop's thread; it may be made after
  // the service, but before the first call.
  SchedulerService(std::string scheduler_id, EventLoop& loop,
                   const std::unique_ptr<Dispatcher>& dispatcher, TokenizerStore& store,
                   PromptPreparer& preparer);
  ~SchedulerService() override;

  // ---- gRPC ----
  grpc::ServerBidiReactor<v1::GatewayFrame, v1::DeltaFrame>* Session(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;

  // ---- the loop's thread ----
  void Write(uint64_t session, v1::DeltaFrame frame) override;
  void Close(uint64_t session, int code, std::string message) override;
  // The peer takes what it gets (or is gone): another frame may be written.
  bool Writable(uint64_t session) const;
  // Ends all sessions after what is queued was sent. Events may be dropped from now on.
  void CloseAll();

 private:
  class Handler;
  struct Sessions;

  const std::string scheduler_id_;
  EventLoop& loop_;
  const std::unique_ptr<Dispatcher>& dispatcher_;
  TokenizerStore& store_;
  PromptPreparer& preparer_;
  const std::shared_ptr<Sessions> sessions_;
  std::atomic<bool> closing_{false};
};

}  // namespace weft::scheduler
