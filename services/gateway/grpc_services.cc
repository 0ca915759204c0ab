#include "services/gateway/grpc_services.h"

#include <deque>
#include <mutex>
#include <string>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/rpc/status.h"
#include "libs/rpc/tls.h"
#include "libs/telemetry/semantic.h"
#include "services/gateway/admin_call.h"
#include "services/gateway/api_error.h"
#include "services/gateway/data_routes.h"
#include "services/gateway/grpc_guards.h"
#include "services/gateway/key_routes.h"
#include "services/gateway/model_gate.h"
#include "services/gateway/resource_calls.h"
#include "services/gateway/traffic_routes.h"
#include "weft/v1/admin.grpc.pb.h"
#include "weft/v1/cache.grpc.pb.h"
#include "weft/v1/inference.grpc.pb.h"

namespace weft::gateway {
namespace {

using DepsPtr = std::shared_ptr<const ApiDeps>;

constexpr std::string_view kGenerateMethod = "weft.v1.InferenceService/Generate";

// One admitted call: who, and the server span.
struct Entry {
  std::string request_id = NewRequestId();
  identity::PrincipalPtr principal;
  telemetry::Span span;
  std::string address;
  std::string user_agent;
  absl::Status status;

  Actor actor() const { return {principal, request_id, address, user_agent}; }
};

// Internal errors never show what they hold; the retry time also travels as `retry-after`.
grpc::Status Outward(grpc::CallbackServerContext& context, const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const ApiError shown = ToApiError(status);
  absl::Status out = MakeStatus(status.code(), shown.message);
  if (shown.status == 500) out = Internal("{}", shown.message);
  out = WithField(std::move(out), shown.param);
  if (shown.retry_after) {
    out = WithRetryAfter(std::move(out), *shown.retry_after);
    context.AddTrailingMetadata("retry-after", limits::RetryAfterHeader(*shown.retry_after));
  }
  return rpc::ToGrpcStatus(out);
}

// Trailing metadata, whose names are in lower case.
void AddHeaders(grpc::CallbackServerContext& context, const HeaderList& headers) {
  for (const auto& [name, value] : headers) {
    std::string key = name;
    for (char& c : key) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    context.AddTrailingMetadata(key, value);
  }
}

Entry Enter(grpc::CallbackServerContext& context, const ApiDeps& deps, Admission& admission,
            std::string_view method, bool rate_limited = true) {
  Entry entry;
  const GrpcGuard* guard = FindGrpcGuard(method);
  if (guard == nullptr) {  // CheckGrpcGuards lets no such server start
    entry.status = Internal("{} says not who may call it", method);
    return entry;
  }
  entry.span = deps.generation.tracer->Start(
      method, {.parent = deps.generation.tracer->Extract(rpc::Metadata(context, "traceparent"),
                                                         rpc::Metadata(context, "tracestate")),
               .kind = telemetry::SpanKind::kServer});
  entry.span.Set(telemetry::semantic::kRpcSystem, "grpc");
  entry.span.Set(telemetry::semantic::kRpcMethod, method);
  entry.span.Set(telemetry::semantic::kRequestId, entry.request_id);
  context.AddInitialMetadata("x-request-id", entry.request_id);
  const std::string authorization = rpc::Metadata(context, "authorization");
  const std::string api_key = rpc::Metadata(context, "x-api-key");
  entry.address = context.peer();
  entry.user_agent = rpc::Metadata(context, "user-agent");
  entry.status = deps.edge->AdmitPeer(entry.address);
  if (!entry.status.ok()) {
    entry.span.SetStatus(entry.status);
    admission.NoteRefusal("address",
                          {.method = "GRPC", .target = method, .remote_address = entry.address},
                          entry.request_id);
    return entry;
  }
  identity::Credentials credentials;
  credentials.authorization = authorization;
  credentials.api_key = api_key;
  credentials.method = "GRPC";
  credentials.target = method;
  credentials.remote_address = entry.address;
  const std::vector<std::string> names = rpc::CertificateNames(context);
  credentials.certificate_names = names;
  Admission::Pass pass = admission.Check(guard->guard, rate_limited, credentials, entry.request_id);
  if (pass.limited) {
    const auto& [policy, limit, decision] = *pass.limited;
    context.AddTrailingMetadata("ratelimit-policy", limits::RateLimitPolicyHeader(limit, policy));
    context.AddTrailingMetadata("ratelimit", limits::RateLimitHeader(decision, policy));
  }
  AddHeaders(context, pass.headers);
  entry.principal = std::move(pass.principal);
  entry.status = std::move(pass.status);
  if (!entry.status.ok()) entry.span.SetStatus(entry.status);
  return entry;
}

// One Generate call. The generation's lock is outside ours; gRPC's callbacks take only ours, and
// call the generation without it.
class GenerateReactor final : public grpc::ServerWriteReactor<v1::GenerateResponse>,
                              public std::enable_shared_from_this<GenerateReactor> {
 public:
  GenerateReactor(grpc::CallbackServerContext* context, DepsPtr deps)
      : context_(context), deps_(std::move(deps)) {}

  void Begin(Entry entry, const v1::GenerateRequest& request);
  void Queue(v1::GenerateResponse message) {
    std::lock_guard lock(mutex_);
    if (finishing_) return;
    queued_bytes_ += message.text().size() + 64;
    if (queued_bytes_ > kMaxQueuedBytes) {  // the client does not read
      overflow_ = true;
      FinishLocked(ResourceExhausted("The client reads too slowly; the request was cancelled."));
      return;
    }
    queue_.push_back(std::move(message));
    PumpLocked();
  }
  void End(const absl::Status& status) {
    std::lock_guard lock(mutex_);
    FinishLocked(status);
  }
  bool overflow() {
    std::lock_guard lock(mutex_);
    return overflow_;
  }

  void OnWriteDone(bool ok) override {
    CancelFn cancel;
    {
      std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok) {
        queue_.clear();
        cancel = cancel_;
      }
      PumpLocked();
    }
    if (cancel) cancel("client_gone");
  }
  void OnCancel() override {
    CancelFn cancel;
    {
      std::lock_guard lock(mutex_);
      cancel = cancel_;
      queue_.clear();
      FinishLocked(Cancelled("The client cancelled the request."));
    }
    if (cancel) cancel("client_gone");
  }
  void OnDone() override {
    std::shared_ptr<GenerateReactor> self;
    std::lock_guard lock(mutex_);
    self.swap(self_);
    // self dies after the lock is released: it is declared first.
  }

 private:
  static constexpr size_t kMaxQueuedBytes = 4 << 20;
  using CancelFn = std::function<void(std::string_view reason)>;

  void FinishLocked(const absl::Status& status) {
    if (std::exchange(finishing_, true)) return;
    status_ = status;
    PumpLocked();
  }
  void PumpLocked() {
    if (writing_ || finished_) return;
    if (!queue_.empty() && !overflow_) {
      writing_ = true;
      current_ = std::move(queue_.front());
      queue_.pop_front();
      queued_bytes_ -= std::min(queued_bytes_, current_.text().size() + 64);
      StartWrite(&current_);
      return;
    }
    if (!finishing_) return;
    finished_ = true;
    span_.SetStatus(status_);
    span_.End();
    Finish(Outward(*context_, status_));
  }

  grpc::CallbackServerContext* const context_;
  const DepsPtr deps_;
  std::mutex mutex_;
  telemetry::Span span_;
  std::deque<v1::GenerateResponse> queue_;
  size_t queued_bytes_ = 0;
  v1::GenerateResponse current_;
  bool writing_ = false;
  bool finishing_ = false;
  bool finished_ = false;
  bool overflow_ = false;
  absl::Status status_;
  CancelFn cancel_;  // of what runs; holds nothing strong
  std::shared_ptr<GenerateReactor> self_;
};

class GrpcSink final : public GenerationSink {
 public:
  GrpcSink(std::shared_ptr<GenerateReactor> reactor, std::string request_id, std::string model,
           std::shared_ptr<std::atomic<bool>> abandoned)
      : reactor_(std::move(reactor)),
        request_id_(std::move(request_id)),
        model_(std::move(model)),
        abandoned_(std::move(abandoned)) {}

  void OnBegin(const Totals&) override {
    v1::GenerateResponse message;
    message.set_request_id(request_id_);
    message.set_model(model_);
    reactor_->Queue(std::move(message));
  }
  void OnPromptLogprobs(uint32_t, std::span<const v1::TokenLogprob* const> entries) override {
    v1::GenerateResponse message;
    for (const v1::TokenLogprob* entry : entries) *message.add_prompt_logprobs() = *entry;
    reactor_->Queue(std::move(message));
  }
  void OnPiece(uint32_t, const OutputGate::Piece& piece) override {
    if (piece.text.empty() && piece.token_ids.empty()) return;
    v1::GenerateResponse message;
    message.set_text(piece.text);
    message.mutable_token_ids()->Assign(piece.token_ids.begin(), piece.token_ids.end());
    for (const v1::TokenLogprob& entry : piece.logprobs) *message.add_logprobs() = entry;
    reactor_->Queue(std::move(message));
    if (reactor_->overflow()) abandoned_->store(true);
  }
  void OnChoiceEnd(const ChoiceEnd& end) override {
    last_.set_finish_reason(end.reason);
    if (end.blocked_by == nullptr) return;
    last_.mutable_content_filter()->set_rule(end.blocked_by->rule);
    last_.mutable_content_filter()->set_line(end.blocked_by->line);
    last_.mutable_content_filter()->set_message(end.blocked_by->message);
  }
  void OnDone(const Totals& totals) override {
    *last_.mutable_usage() = totals.usage;
    reactor_->Queue(std::move(last_));
    reactor_->End(absl::OkStatus());
  }
  void OnFailed(const absl::Status& status) override { reactor_->End(status); }

 private:
  const std::shared_ptr<GenerateReactor> reactor_;
  const std::string request_id_;
  const std::string model_;
  const std::shared_ptr<std::atomic<bool>> abandoned_;
  v1::GenerateResponse last_;
};

void GenerateReactor::Begin(Entry entry, const v1::GenerateRequest& request) {
  self_ = shared_from_this();
  if (!entry.status.ok()) return End(entry.status);
  auto parsed = FromGrpc(request, deps_->limits);
  if (!parsed.ok()) return End(parsed.status());
  if (absl::Status status =
          AuthorizeModel(*deps_->audit, entry.actor(), deps_->generation.clock->Wall(),
                         *deps_->generation.scheduler, *parsed->submit.mutable_model());
      !status.ok()) {
    return End(status);
  }
  if (absl::Status status = BoundPriority(deps_->limits, entry.principal.get(), *parsed);
      !status.ok()) {
    return End(status);
  }
  auto admitted =
      deps_->traffic->Admit({.principal = entry.principal.get(), .address = entry.address}, *parsed,
                            entry.request_id, kGenerateMethod);
  AddHeaders(*context_, admitted.headers);
  if (!admitted.status.ok()) {
    deps_->generation.metrics->rate_limited.Increment();
    return End(admitted.status);
  }
  const telemetry::SpanContext parent = entry.span.context();
  AnswerCache::Start start;
  start.deps = &deps_->generation;
  start.request = std::move(*parsed);
  start.request_id = entry.request_id;
  start.principal = entry.principal;
  start.parent = parent;
  start.account = std::move(admitted.account);
  start.abandoned = std::make_shared<std::atomic<bool>>(false);
  start.directives = ParseCacheDirectives(rpc::Metadata(*context_, "cache-control"),
                                          rpc::Metadata(*context_, "x-weft-cache"));
  const auto abandoned = start.abandoned;
  start.make_sink = [&](const GenerationRequest& what, std::string_view state, int64_t age) {
    HeaderList headers = {{"x-weft-cache", std::string(state)}};
    if (age >= 0) headers.emplace_back("age", std::to_string(age));
    AddHeaders(*context_, headers);
    return deps_->prompts->Watch(std::make_unique<GrpcSink>(shared_from_this(), entry.request_id,
                                                            what.submit.model(), abandoned),
                                 {.principal = entry.principal.get(),
                                  .request_id = entry.request_id,
                                  .endpoint = kGenerateMethod},
                                 what);
  };
  {
    std::lock_guard lock(mutex_);
    span_ = std::move(entry.span);
  }
  AnswerCache::Started started = deps_->cache->Begin(std::move(start));
  if (!started.status.ok()) return End(NotFound("The answer is not in the cache."));
  if (started.generation) {
    deps_->active->Add(started.generation, started.shared ? nullptr : abandoned);
  }
  {
    std::lock_guard lock(mutex_);
    cancel_ = started.cancel;
  }
  if (started.generation) started.generation->Start();
  // The client may have cancelled before there was something to cancel.
  if (started.cancel && context_->IsCancelled()) started.cancel("client_gone");
}

}  // namespace

class GrpcServices::Inference final : public v1::InferenceService::CallbackService {
 public:
  Inference(DepsPtr deps, Admission& admission) : deps_(std::move(deps)), admission_(admission) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override {
    auto reactor = std::make_shared<GenerateReactor>(context, deps_);
    // Its limits are of tokens and models too: Begin takes them.
    reactor->Begin(Enter(*context, *deps_, admission_, kGenerateMethod, false), *request);
    return reactor.get();
  }

  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override {
    auto* reactor = context->DefaultReactor();
    Entry entry = Enter(*context, *deps_, admission_, "weft.v1.InferenceService/Tokenize");
    if (!entry.status.ok()) {
      reactor->Finish(Outward(*context, entry.status));
      return reactor;
    }
    v1::TokenizeRequest asked = *request;
    entry.status = AuthorizeModel(*deps_->audit, entry.actor(), deps_->generation.clock->Wall(),
                                  *deps_->generation.scheduler, *asked.mutable_model());
    if (!entry.status.ok()) {
      reactor->Finish(Outward(*context, entry.status));
      return reactor;
    }
    deps_->generation.scheduler->Tokenize(
        asked, [context, reactor, response](absl::StatusOr<v1::TokenizeResponse> result) {
          if (result.ok()) *response = std::move(*result);
          reactor->Finish(Outward(*context, result.status()));
        });
    return reactor;
  }

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest*,
                                       v1::ListModelsResponse* response) override {
    auto* reactor = context->DefaultReactor();
    Entry entry = Enter(*context, *deps_, admission_, "weft.v1.InferenceService/ListModels");
    if (entry.status.ok()) {
      for (v1::ModelInfo& model :
           VisibleModels(*deps_->generation.scheduler, entry.principal.get())) {
        *response->add_models() = std::move(model);
      }
    }
    reactor->Finish(Outward(*context, entry.status));
    return reactor;
  }

 private:
  const DepsPtr deps_;
  Admission& admission_;
};

// A key that was made, with its secrets.
template <typename Response>
void Show(const identity::CreatedKey& created, Response& response) {
  *response.mutable_key() = ToProto(created.record);
  response.set_secret(created.text);
  response.set_signing_secret(created.signing_secret);
}

class GrpcServices::Admin final : public v1::AdminService::CallbackService {
 public:
  Admin(DepsPtr deps, Admission& admission) : deps_(std::move(deps)), admission_(admission) {}

  grpc::ServerUnaryReactor* CreateKey(grpc::CallbackServerContext* context,
                                      const v1::CreateKeyRequest* request,
                                      v1::CreateKeyResponse* response) override {
    return Run(context, "CreateKey", [this, request, response](const Actor& actor) -> absl::Status {
      WEFT_ASSIGN_OR_RETURN(const identity::NewKey key, ToNewKey(*request));
      WEFT_ASSIGN_OR_RETURN(const identity::CreatedKey created, deps_->keys->Create(actor, key));
      Show(created, *response);
      return absl::OkStatus();
    });
  }
  grpc::ServerUnaryReactor* RotateKey(grpc::CallbackServerContext* context,
                                      const v1::RotateKeyRequest* request,
                                      v1::RotateKeyResponse* response) override {
    return Run(context, "RotateKey", [this, request, response](const Actor& actor) -> absl::Status {
      const std::chrono::seconds overlap(request->has_overlap_seconds() ? request->overlap_seconds()
                                                                        : kDefaultOverlap.count());
      if (overlap.count() < 0 || overlap > kLongestOverlap) {
        return WithField(
            InvalidArgument("overlap_seconds: must be 0 to {}", kLongestOverlap.count()),
            "overlap_seconds");
      }
      WEFT_ASSIGN_OR_RETURN(const identity::CreatedKey created,
                            deps_->keys->Rotate(actor, request->id(), overlap));
      Show(created, *response);
      return absl::OkStatus();
    });
  }
  grpc::ServerUnaryReactor* ListKeys(grpc::CallbackServerContext* context,
                                     const v1::ListKeysRequest* request,
                                     v1::ListKeysResponse* response) override {
    return Run(context, "ListKeys", [this, request, response](const Actor& actor) -> absl::Status {
      WEFT_ASSIGN_OR_RETURN(const auto keys, deps_->keys->List(actor, request->tenant()));
      for (const store::KeyRecord& key : keys) *response->add_keys() = ToProto(key);
      return absl::OkStatus();
    });
  }
  grpc::ServerUnaryReactor* RevokeKey(grpc::CallbackServerContext* context,
                                      const v1::RevokeKeyRequest* request,
                                      v1::RevokeKeyResponse*) override {
    return Run(context, "RevokeKey", [this, request](const Actor& actor) {
      return deps_->keys->Revoke(actor, request->id());
    });
  }

  grpc::ServerUnaryReactor* CreateResource(grpc::CallbackServerContext* context,
                                           const v1::CreateResourceRequest* request,
                                           v1::Resource* response) override {
    return Handled(context, "CreateResource", request, response, deps_->resources);
  }
  grpc::ServerUnaryReactor* GetResource(grpc::CallbackServerContext* context,
                                        const v1::GetResourceRequest* request,
                                        v1::Resource* response) override {
    return Handled(context, "GetResource", request, response, deps_->resources);
  }
  grpc::ServerUnaryReactor* ListResources(grpc::CallbackServerContext* context,
                                          const v1::ListResourcesRequest* request,
                                          v1::ListResourcesResponse* response) override {
    return Handled(context, "ListResources", request, response, deps_->resources);
  }
  grpc::ServerUnaryReactor* UpdateResource(grpc::CallbackServerContext* context,
                                           const v1::UpdateResourceRequest* request,
                                           v1::Resource* response) override {
    return Handled(context, "UpdateResource", request, response, deps_->resources);
  }
  grpc::ServerUnaryReactor* DeleteResource(grpc::CallbackServerContext* context,
                                           const v1::DeleteResourceRequest* request,
                                           v1::DeleteResourceResponse* response) override {
    return Handled(context, "DeleteResource", request, response, deps_->resources);
  }
  grpc::ServerUnaryReactor* GetUsage(grpc::CallbackServerContext* context,
                                     const v1::GetUsageRequest* request,
                                     v1::GetUsageResponse* response) override {
    return Handled(context, "GetUsage", request, response, deps_->resources);
  }
  grpc::ServerUnaryReactor* ListAudit(grpc::CallbackServerContext* context,
                                      const v1::ListAuditRequest* request,
                                      v1::ListAuditResponse* response) override {
    return Handled(context, "ListAudit", request, response, deps_->resources);
  }
  grpc::ServerUnaryReactor* VerifyAudit(grpc::CallbackServerContext* context,
                                        const v1::VerifyAuditRequest* request,
                                        v1::VerifyAuditResponse* response) override {
    return Handled(context, "VerifyAudit", request, response, deps_->resources, Work::kLong);
  }

  grpc::ServerUnaryReactor* ExportData(grpc::CallbackServerContext* context,
                                       const v1::ExportDataRequest* request,
                                       v1::ExportDataResponse* response) override {
    return Handled(context, "ExportData", request, response, deps_->data, Work::kLong);
  }
  grpc::ServerUnaryReactor* EraseData(grpc::CallbackServerContext* context,
                                      const v1::EraseDataRequest* request,
                                      v1::EraseDataResponse* response) override {
    return Handled(context, "EraseData", request, response, deps_->data, Work::kLong);
  }
  grpc::ServerUnaryReactor* PruneData(grpc::CallbackServerContext* context,
                                      const v1::PruneDataRequest* request,
                                      v1::PruneDataResponse* response) override {
    return Handled(context, "PruneData", request, response, deps_->data, Work::kLong);
  }
  grpc::ServerUnaryReactor* RotateKeys(grpc::CallbackServerContext* context,
                                       const v1::RotateKeysRequest* request,
                                       v1::RotateKeysResponse* response) override {
    return Handled(context, "RotateKeys", request, response, deps_->data, Work::kLong);
  }

 private:
  template <typename Request, typename Response, typename Part>
  grpc::ServerUnaryReactor* Handled(grpc::CallbackServerContext* context, std::string_view method,
                                    const Request* request, Response* response, Part* part,
                                    Work kind = Work::kShort) {
    return Run(
        context, method,
        [request, response, part](const Actor& actor) {
          return Handle(*part, actor, *request, *response);
        },
        kind);
  }
  // The store blocks: not on gRPC's threads.
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, std::string_view method,
                                std::function<absl::Status(const Actor&)> work,
                                Work kind = Work::kShort) {
    auto* reactor = context->DefaultReactor();
    Entry entry =
        Enter(*context, *deps_, admission_, "weft.v1.AdminService/" + std::string(method));
    if (!entry.status.ok()) {
      reactor->Finish(Outward(*context, entry.status));
      return reactor;
    }
    const bool queued =
        Submit(*deps_, kind, [context, reactor, work = std::move(work), actor = entry.actor()] {
          reactor->Finish(Outward(*context, work(actor)));
        });
    if (!queued) reactor->Finish(Outward(*context, TooManyAdministrativeRequests()));
    return reactor;
  }

  const DepsPtr deps_;
  Admission& admission_;
};

class GrpcServices::Cache final : public v1::CacheService::CallbackService {
 public:
  Cache(DepsPtr deps, Admission& admission) : deps_(std::move(deps)), admission_(admission) {}

  grpc::ServerUnaryReactor* InvalidateCache(grpc::CallbackServerContext* context,
                                            const v1::InvalidateCacheRequest* request,
                                            v1::InvalidateCacheResponse* response) override {
    auto* reactor = context->DefaultReactor();
    Entry entry = Enter(*context, *deps_, admission_, "weft.v1.CacheService/InvalidateCache");
    cache::KeyPattern pattern{request->tenant(), request->model(), request->pattern()};
    if (entry.status.ok()) entry.status = CheckPattern(pattern, request->all());
    if (!entry.status.ok()) {
      reactor->Finish(Outward(*context, entry.status));
      return reactor;
    }
    // Redis is asked, page by page: not on gRPC's threads.
    const bool queued = Submit(*deps_, Work::kShort,
                               [context, reactor, response, deps = deps_,
                                pattern = std::move(pattern), actor = entry.actor()] {
                                 const auto gone = Invalidate(*deps, actor, pattern);
                                 if (gone.ok()) response->set_invalidated(*gone);
                                 reactor->Finish(Outward(*context, gone.status()));
                               });
    if (!queued) reactor->Finish(Outward(*context, TooManyAdministrativeRequests()));
    return reactor;
  }

  grpc::ServerUnaryReactor* GetCacheStats(grpc::CallbackServerContext* context,
                                          const v1::GetCacheStatsRequest*,
                                          v1::GetCacheStatsResponse* response) override {
    auto* reactor = context->DefaultReactor();
    Entry entry = Enter(*context, *deps_, admission_, "weft.v1.CacheService/GetCacheStats");
    if (entry.status.ok() && deps_->cache->store() != nullptr) {
      const cache::ResponseCache::Stats stats = deps_->cache->store()->stats();
      const AnswerCache::Counts counts = deps_->cache->counts();
      response->set_enabled(true);
      response->set_entries(stats.entries);
      response->set_bytes(stats.bytes);
      response->set_evictions(stats.evictions);
      response->set_hits(counts.hits);
      response->set_misses(counts.misses);
      response->set_coalesced(counts.coalesced);
    }
    reactor->Finish(Outward(*context, entry.status));
    return reactor;
  }

 private:
  const DepsPtr deps_;
  Admission& admission_;
};

GrpcServices::GrpcServices(std::shared_ptr<const ApiDeps> deps, Admission& admission)
    : inference_(std::make_unique<Inference>(deps, admission)),
      admin_(std::make_unique<Admin>(deps, admission)),
      cache_(std::make_unique<Cache>(deps, admission)) {}
GrpcServices::~GrpcServices() = default;

std::vector<rpc::ServiceEntry> GrpcServices::entries() {
  return {{inference_.get(), v1::InferenceService::service_full_name()},
          {admin_.get(), v1::AdminService::service_full_name()},
          {cache_.get(), v1::CacheService::service_full_name()}};
}

}  // namespace weft::gateway
