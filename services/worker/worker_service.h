// WorkerService over gRPC.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "services/worker/model_host.h"
#include "services/worker/session_hub.h"
#include "weft/v1/worker.grpc.pb.h"

namespace weft::worker {

class WorkerService final : public v1::WorkerService::CallbackService {
 public:
  // All must outlive the service.
  WorkerService(std::string worker_id, SessionHub& hub,
                const std::vector<std::unique_ptr<ModelHost>>& models);
  ~WorkerService() override;

  grpc::ServerBidiReactor<v1::WorkFrame, v1::StepFrame>* Session(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const v1::DescribeRequest* request,
                                     v1::DescribeResponse* response) override;
  grpc::ServerWriteReactor<v1::TokenizerChunk>* GetTokenizer(
      grpc::CallbackServerContext* context, const v1::GetTokenizerRequest* request) override;

  // Ends all sessions after what is queued was sent.
  void CloseAll();

 private:
  class Handler;
  struct Sessions;

  const std::string worker_id_;
  SessionHub& hub_;
  const std::vector<std::unique_ptr<ModelHost>>& models_;
  const std::shared_ptr<Sessions> sessions_;
};

}  // namespace weft::worker
