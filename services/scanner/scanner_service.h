// ScannerService over gRPC: unary scans and sessions, on one pool of threads.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "libs/base/thread_pool.h"
#include "services/scanner/config.h"
#include "services/scanner/scanner_telemetry.h"
#include "weft/v1/scanner.grpc.pb.h"

namespace weft::scanner {

// Thread safe. `telemetry` must outlive it, and it must outlive the server.
class ScannerService final : public v1::ScannerService::CallbackService {
 public:
  ScannerService(std::shared_ptr<const scan::RuleSet> rules, const Config& config,
                 ScannerTelemetry& telemetry);
  ~ScannerService() override;

  grpc::ServerUnaryReactor* ScanText(grpc::CallbackServerContext* context,
                                     const v1::ScanTextRequest* request,
                                     v1::ScanTextResponse* response) override;
  grpc::ServerUnaryReactor* SanitizePrompt(grpc::CallbackServerContext* context,
                                           const v1::SanitizePromptRequest* request,
                                           v1::SanitizePromptResponse* response) override;
  grpc::ServerBidiReactor<v1::ScanFrame, v1::ScanVerdictFrame>* ScanStream(
      grpc::CallbackServerContext* context) override;

  // New handles are refused; a session ends when its last handle does.
  void BeginDrain();
  // Ends the sessions that are left.
  void CloseAll();
  size_t sessions() const;

 private:
  class SessionReactor;

  // One unary call: what its span and metrics say, and its work.
  struct Unary {
    std::string_view method;  // "ScanText"
    std::string_view span;    // "scan text"
    scan::TextKind kind = scan::TextKind::kCode;
    uint64_t bytes = 0;
    std::string_view request_id;
    std::string traceparent;
    std::function<absl::Status()> work;
    std::function<size_t()> findings;  // after the work
  };
  grpc::ServerUnaryReactor* RunUnary(grpc::CallbackServerContext* context, Unary call);
  absl::Status Scan(const v1::ScanTextRequest& request, v1::ScanTextResponse& response);
  absl::Status Sanitize(const v1::SanitizePromptRequest& request,
                        v1::SanitizePromptResponse& response);
  void Remove(const std::shared_ptr<SessionReactor>& session);

  const std::shared_ptr<const scan::RuleSet> rules_;
  const Limits limits_;
  ScannerTelemetry& telemetry_;
  std::atomic<int32_t> pending_scans_ = 0;

  mutable std::mutex mutex_;
  std::set<std::shared_ptr<SessionReactor>> sessions_;
  bool draining_ = false;

  ThreadPool pool_;  // last: it ends before what its tasks use
};

}  // namespace weft::scanner
