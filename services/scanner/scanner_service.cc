#include "services/scanner/scanner_service.h"

#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status.h"
#include "libs/rpc/stream_session.h"
#include "libs/scan/rule_set.h"
#include "libs/scan/sanitize.h"
#include "libs/scan/scanner.h"
#include "services/scanner/scan_session.h"
#include "services/scanner/wire.h"

namespace weft::scanner {
namespace {

using namespace std::chrono_literals;

constexpr auto kScanTextLimit = 10s;  // the RPC's documented deadline
constexpr int kMaxKeepRules = 256;

uint64_t BytesOf(const v1::SanitizePromptRequest& request) {
  uint64_t bytes = 0;
  for (const std::string& part : request.parts()) bytes += part.size();
  return bytes;
}

size_t PoolThreads(const Config& config) {
  if (config.threads > 0) return static_cast<size_t>(config.threads);
  const unsigned cores = std::thread::hardware_concurrency();
  return cores == 0 ? 1 : cores;
}

}  // namespace

// A session's frames wait here and are scanned in order, one at a time, on the pool.
class ScannerService::SessionReactor final
    : public rpc::SessionHandler<v1::ScanFrame, v1::ScanVerdictFrame>,
      public std::enable_shared_from_this<SessionReactor> {
 public:
  explicit SessionReactor(ScannerService& service)
      : service_(service), scans_(service.rules_, service.limits_, service.telemetry_) {}

  void OnOpen(std::shared_ptr<rpc::Session<v1::ScanVerdictFrame>> session) override {
    std::lock_guard lock(mutex_);
    session_ = std::move(session);
  }

  void OnFrame(v1::ScanFrame& frame) override {
    const size_t bytes = frame.ByteSizeLong();
    std::unique_lock lock(mutex_);
    if (closed_) return;
    if (pending_bytes_ + bytes > service_.limits_.max_pending_bytes) {
      const auto session = session_;
      lock.unlock();
      session->Abort(ResourceExhausted("more than {} bytes of frames wait to be scanned",
                                       service_.limits_.max_pending_bytes));
      return;
    }
    pending_bytes_ += bytes;
    frames_.emplace_back(std::move(frame));
    if (running_) return;
    running_ = true;
    ScheduleLocked(lock);
  }

  void OnClosed(const absl::Status&) override {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      session_.reset();
      frames_.clear();
    }
    service_.Remove(shared_from_this());
  }

  void BeginDrain() {
    std::unique_lock lock(mutex_);
    draining_ = true;
    if (closed_ || running_) return;
    running_ = true;
    ScheduleLocked(lock);
  }

  void Refuse(const absl::Status& status) {
    std::shared_ptr<rpc::Session<v1::ScanVerdictFrame>> session;
    {
      std::lock_guard lock(mutex_);
      session = session_;
    }
    if (session != nullptr) session->Abort(status);
  }

  void Close() {
    std::shared_ptr<rpc::Session<v1::ScanVerdictFrame>> session;
    {
      std::lock_guard lock(mutex_);
      session = session_;
    }
    if (session != nullptr) session->Close();
  }

 private:
  void ScheduleLocked(std::unique_lock<std::mutex>& lock) {
    if (service_.pool_.TrySubmit([self = shared_from_this()] { self->Run(); })) return;
    running_ = false;
    const auto session = session_;
    lock.unlock();
    if (session != nullptr) session->Abort(ResourceExhausted("the scanner is overloaded"));
  }

  // On the pool. Gives way to other sessions after each frame.
  void Run() {
    v1::ScanFrame frame;
    bool any = false;
    std::shared_ptr<rpc::Session<v1::ScanVerdictFrame>> session;
    bool draining = false;
    {
      std::lock_guard lock(mutex_);
      session = session_;
      draining = draining_;
      if (!closed_ && !frames_.empty()) {
        any = true;
        frame = std::move(frames_.front());
        frames_.pop_front();
        pending_bytes_ -= std::min(pending_bytes_, frame.ByteSizeLong());
      }
    }
    if (draining) scans_.BeginDrain();
    if (any && session != nullptr) {
      const SteadyTime begin = Clock::Real().Now();
      auto verdict = scans_.Handle(frame);
      service_.telemetry_.OnFrame(Clock::Real().Now() - begin, verdict.status());
      if (verdict.ok()) {
        session->Send(*std::move(verdict));
      } else {
        session->Abort(verdict.status());
      }
    }
    std::unique_lock lock(mutex_);
    if (!closed_ && !frames_.empty()) {
      ScheduleLocked(lock);
      return;
    }
    running_ = false;
    const bool done = draining_ && !closed_ && scans_.open_streams() == 0;
    lock.unlock();
    if (done && session != nullptr) session->Close();
  }

  ScannerService& service_;
  ScanSession scans_;  // only the task that `running_` stands for touches it

  std::mutex mutex_;
  std::shared_ptr<rpc::Session<v1::ScanVerdictFrame>> session_;
  std::deque<v1::ScanFrame> frames_;
  size_t pending_bytes_ = 0;
  bool running_ = false;
  bool draining_ = false;
  bool closed_ = false;
};

ScannerService::ScannerService(std::shared_ptr<const scan::RuleSet> rules, const Config& config,
                               ScannerTelemetry& telemetry)
    : rules_(std::move(rules)),
      limits_(config.limits),
      telemetry_(telemetry),
      // Each session has at most one task; its own closing may add one more.
      pool_("scan", PoolThreads(config),
            static_cast<size_t>(config.limits.max_pending_scans) +
                2 * static_cast<size_t>(config.limits.max_sessions)) {}

ScannerService::~ScannerService() = default;

absl::Status ScannerService::Scan(const v1::ScanTextRequest& request,
                                  v1::ScanTextResponse& response) {
  WEFT_ASSIGN_OR_RETURN(const scan::TextKind kind, KindFromWire(request.kind(), "kind"));
  if (request.text().size() > limits_.max_text_bytes) {
    return WithField(InvalidArgument("text: {} bytes, at most {} are allowed",
                                     request.text().size(), limits_.max_text_bytes),
                     "text");
  }
  if (request.language().size() > 64) {
    return WithField(
        InvalidArgument("language: {} bytes, at most 64 are allowed", request.language().size()),
        "language");
  }
  scan::ScanOptions options;
  options.kind = kind;
  options.language = request.language();
  options.max_findings = static_cast<size_t>(limits_.max_findings);
  scan::ScanResult result = scan::ScanText(*rules_, request.text(), options);
  for (scan::Finding& finding : result.findings) {
    if (!finding.continues()) telemetry_.OnFinding(finding);
    ToWire(std::move(finding), *response.add_findings());
  }
  response.set_scanned_bytes(request.text().size());
  response.set_ruleset_version(rules_->version());
  response.set_truncated(result.truncated);
  return absl::OkStatus();
}

absl::Status ScannerService::Sanitize(const v1::SanitizePromptRequest& request,
                                      v1::SanitizePromptResponse& response) {
  if (BytesOf(request) > limits_.max_text_bytes) {
    return WithField(InvalidArgument("parts: {} bytes, at most {} are allowed", BytesOf(request),
                                     limits_.max_text_bytes),
                     "parts");
  }
  if (request.keep_rules_size() > kMaxKeepRules) {
    return WithField(InvalidArgument("keep_rules: {} entries, at most {} are allowed",
                                     request.keep_rules_size(), kMaxKeepRules),
                     "keep_rules");
  }
  const std::vector<std::string> keep(request.keep_rules().begin(), request.keep_rules().end());
  for (const std::string& part : request.parts()) {
    // How long a prompt may be is for the caller to say.
    auto clean = scan::SanitizePrompt(*rules_, part, ~uint64_t{0}, keep);
    if (!clean.ok()) return WithField(InvalidArgument("{}", Message(clean.status())), "parts");
    response.add_parts(*std::move(clean));
  }
  response.set_ruleset_version(rules_->version());
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* ScannerService::ScanText(grpc::CallbackServerContext* context,
                                                   const v1::ScanTextRequest* request,
                                                   v1::ScanTextResponse* response) {
  const auto kind = KindFromWire(request->kind(), "kind");
  return RunUnary(
      context, {.method = "ScanText",
                .span = "scan text",
                .kind = kind.ok() ? *kind : scan::TextKind::kCode,
                .bytes = request->text().size(),
                .request_id = request->request_id(),
                .traceparent = request->traceparent(),
                .work = [this, request, response] { return Scan(*request, *response); },
                .findings = [response] { return static_cast<size_t>(response->findings_size()); }});
}

grpc::ServerUnaryReactor* ScannerService::SanitizePrompt(grpc::CallbackServerContext* context,
                                                         const v1::SanitizePromptRequest* request,
                                                         v1::SanitizePromptResponse* response) {
  return RunUnary(context,
                  {.method = "SanitizePrompt",
                   .span = "sanitize prompt",
                   .kind = scan::TextKind::kPrompt,
                   .bytes = BytesOf(*request),
                   .request_id = request->request_id(),
                   .traceparent = request->traceparent(),
                   .work = [this, request, response] { return Sanitize(*request, *response); },
                   .findings = [] { return size_t{0}; }});
}

grpc::ServerUnaryReactor* ScannerService::RunUnary(grpc::CallbackServerContext* context,
                                                   Unary call) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const SteadyTime arrived = Clock::Real().Now();
  const SteadyTime deadline = arrived + rpc::TimeLeft(*context, kScanTextLimit);
  if (call.traceparent.empty()) call.traceparent = rpc::Metadata(*context, "traceparent");
  const std::string_view method = call.method;
  const auto task = [this, context, reactor, arrived, deadline, call = std::move(call)] {
    absl::Status status;
    if (context->IsCancelled() || Clock::Real().Now() >= deadline) {
      status = DeadlineExceeded("the call waited too long for a free thread");
    } else {
      telemetry::Span span =
          telemetry_.StartSpan(call.span, call.traceparent, call.request_id, call.kind);
      status = call.work();
      ScannerTelemetry::EndSpan(span, call.bytes, call.findings(), status);
    }
    telemetry_.OnUnary(call.method, call.kind, call.bytes, Clock::Real().Now() - arrived, status);
    pending_scans_.fetch_sub(1);
    reactor->Finish(rpc::ToGrpcStatus(status));
  };
  const bool fits = pending_scans_.fetch_add(1) < limits_.max_pending_scans;
  if (fits && pool_.TrySubmit(task)) return reactor;
  pending_scans_.fetch_sub(1);
  const absl::Status status =
      WithRetryAfter(ResourceExhausted("{} scans wait already", limits_.max_pending_scans), 100ms);
  telemetry_.OnUnary(method, scan::TextKind::kCode, 0, 0ns, status);
  reactor->Finish(rpc::ToGrpcStatus(status));
  return reactor;
}

grpc::ServerBidiReactor<v1::ScanFrame, v1::ScanVerdictFrame>* ScannerService::ScanStream(
    grpc::CallbackServerContext* context) {
  auto session = std::make_shared<SessionReactor>(*this);
  bool full = false;
  bool draining = false;
  {
    std::lock_guard lock(mutex_);
    full = sessions_.size() >= static_cast<size_t>(limits_.max_sessions);
    draining = draining_;
    sessions_.insert(session);
  }
  telemetry_.OnSession(1);
  rpc::SessionOptions options;
  options.max_queued_bytes = limits_.max_pending_bytes;
  auto* reactor =
      rpc::AcceptSession<v1::ScanFrame, v1::ScanVerdictFrame>(context, session, options);
  if (full || draining) {
    // The handler is told, so it is counted and forgotten as every other.
    session->Refuse(full ? ResourceExhausted("{} sessions are open already", limits_.max_sessions)
                         : Unavailable("the scanner is stopping"));
  }
  return reactor;
}

void ScannerService::Remove(const std::shared_ptr<SessionReactor>& session) {
  telemetry_.OnSession(-1);
  std::lock_guard lock(mutex_);
  sessions_.erase(session);
}

void ScannerService::BeginDrain() {
  std::vector<std::shared_ptr<SessionReactor>> sessions;
  {
    std::lock_guard lock(mutex_);
    draining_ = true;
    sessions.assign(sessions_.begin(), sessions_.end());
  }
  for (const auto& session : sessions) session->BeginDrain();
}

void ScannerService::CloseAll() {
  std::vector<std::shared_ptr<SessionReactor>> sessions;
  {
    std::lock_guard lock(mutex_);
    sessions.assign(sessions_.begin(), sessions_.end());
  }
  for (const auto& session : sessions) session->Close();
}

size_t ScannerService::sessions() const {
  std::lock_guard lock(mutex_);
  return sessions_.size();
}

}  // namespace weft::scanner
