#include "services/gateway/api.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/json/strict_json.h"
#include "services/gateway/api_error.h"
#include "services/gateway/data_routes.h"
#include "services/gateway/docs_page.h"
#include "services/gateway/key_routes.h"
#include "services/gateway/model_gate.h"
#include "services/gateway/openai_json.h"
#include "services/gateway/openai_sink.h"
#include "services/gateway/resource_routes.h"
#include "services/gateway/traffic_routes.h"

namespace weft::gateway {
namespace {

using identity::Guard;
using identity::Permission;
using nlohmann::json;
using DepsPtr = std::shared_ptr<const ApiDeps>;
using ParseFn = absl::StatusOr<GenerationRequest> (*)(const json&, const RequestLimits&);

absl::StatusOr<json> ReadJson(const Call& call) {
  const std::string_view type = call.request().headers.Get("Content-Type");
  const std::string_view media = type.substr(0, type.find(';'));
  if (!media.empty() && !http::EqualsIgnoreCase(media, "application/json")) {
    return InvalidArgument("Unsupported Content-Type: send the request as application/json.");
  }
  auto body = ParseStrictJson(call.request().body);
  if (body.ok()) return body;
  return InvalidArgument("We could not parse the JSON body of your request: {}.",
                         Message(body.status()));
}

void Generate(const DepsPtr& deps, const Call& call, ParseFn parse) {
  auto body = ReadJson(call);
  if (!body.ok()) return call.Fail(body.status());
  auto request = parse(*body, deps->limits);
  if (!request.ok()) return call.Fail(request.status());
  if (absl::Status status =
          AuthorizeModel(*deps->audit, call.actor(), deps->generation.clock->Wall(),
                         *deps->generation.scheduler, *request->submit.mutable_model());
      !status.ok()) {
    return call.Fail(status);
  }
  if (absl::Status status = BoundPriority(deps->limits, call.context().principal.get(), *request);
      !status.ok()) {
    return call.Fail(status);
  }
  auto admitted = deps->traffic->Admit(
      {.principal = call.context().principal.get(), .address = call.request().remote_address},
      *request, call.context().request_id, call.request().route);
  for (auto& header : admitted.headers) call.context().headers.push_back(std::move(header));
  if (!admitted.status.ok()) {
    deps->generation.metrics->rate_limited.Increment();
    http::Response refusal = ErrorResponse(ToApiError(admitted.status));
    // Requirement 000's shape beside ours.
    if (request->kind == ApiKind::kGenerate && refusal.status == 429) {
      refusal.body.insert(1, R"("detail":"Rate limit exceeded",)");
    }
    return call.Send(std::move(refusal));
  }
  AnswerCache::Start start;
  start.deps = &deps->generation;
  start.request = std::move(*request);
  start.request_id = call.context().request_id;
  start.principal = call.context().principal;
  start.parent = call.context().span.context();
  start.account = std::move(admitted.account);
  start.abandoned = std::make_shared<std::atomic<bool>>(false);
  start.directives = ParseCacheDirectives(call.request().headers.Get("Cache-Control"),
                                          call.request().headers.Get("X-Weft-Cache"));
  start.make_sink = [&, abandoned = start.abandoned](const GenerationRequest& what,
                                                     std::string_view state, int64_t age) {
    auto& headers = call.context().headers;
    headers.emplace_back("X-Weft-Cache", state);
    if (age >= 0) headers.emplace_back("Age", std::to_string(age));
    const auto answer = [&]() -> std::unique_ptr<GenerationSink> {
      switch (what.kind) {
        case ApiKind::kGenerate:
          return NewGenerateSink(call);
        case ApiKind::kPredict:
          return NewPredictSink(call);
        default:
          return NewOpenAiSink(call, what, UnixSeconds(deps->generation.clock->Wall()), abandoned);
      }
    };
    return deps->prompts->Watch(answer(),
                                {.principal = call.context().principal.get(),
                                 .request_id = call.context().request_id,
                                 .endpoint = call.request().route},
                                what);
  };
  const auto abandoned = start.abandoned;
  const AnswerCache::Started started = deps->cache->Begin(std::move(start));
  if (!started.status.ok()) {
    return call.Send(ServerError(504, "not_cached", "The answer is not in the cache."));
  }
  if (started.generation) {
    deps->active->Add(started.generation, started.shared ? nullptr : abandoned);
    started.generation->Start();
  }
  if (!started.cancel) return;
  // After Start: a client that is gone already then cancels what was begun. Nothing strong is held
  // here: the sink holds the exchange, and the generation's owners hold the generation.
  call.exchange().OnClose([cancel = started.cancel,
                           exchange = std::weak_ptr(call.shared())](http::CloseReason reason) {
    const auto open = exchange.lock();  // the generation's end may let go of it
    cancel(http::CloseReasonName(reason));
    // Whoever only half-closed the connection still gets a word.
    if (open) {
      Call(open).Fail(Cancelled("The client closed the connection; the request was cancelled."));
    }
  });
}

// Their limits are taken by Generate: they are of tokens and models too.
absl::Status AddGeneration(const DepsPtr& deps, EndpointTable& table) {
  const auto handler = [deps](ParseFn parse) {
    return [deps, parse](const Call& call) { Generate(deps, call, parse); };
  };
  WEFT_RETURN_IF_ERROR(
      table.Add({"POST",
                 "/v1/chat/completions",
                 Permission::kModelsUse,
                 false,
                 {.operation_id = "createChatCompletion",
                  .summary = "Answers chat messages",
                  .description = "Compatible with OpenAI's API, whole or as a stream.",
                  .tag = "OpenAI",
                  .request = "ChatCompletionRequest",
                  .response = "ChatCompletion",
                  .streams = true},
                 handler(&ParseChatRequest)}));
  WEFT_RETURN_IF_ERROR(
      table.Add({"POST",
                 "/v1/completions",
                 Permission::kModelsUse,
                 false,
                 {.operation_id = "createCompletion",
                  .summary = "Continues a prompt",
                  .description = "Compatible with OpenAI's API, whole or as a stream.",
                  .tag = "OpenAI",
                  .request = "CompletionRequest",
                  .response = "Completion",
                  .streams = true},
                 handler(&ParseCompletionRequest)}));
  WEFT_RETURN_IF_ERROR(
      table.Add({"POST",
                 "/infill",
                 Permission::kModelsUse,
                 false,
                 {.operation_id = "infill",
                  .summary = "Writes what belongs between a prefix and a suffix",
                  .description = "As llama.cpp's server and its editor plug-ins speak it, whole or "
                                 "as a stream.",
                  .tag = "Code generation",
                  .request = "InfillRequest",
                  .response = "InfillResponse",
                  .streams = true},
                 handler(&ParseInfillRequest)}));
  WEFT_RETURN_IF_ERROR(table.Add({"POST",
                                  "/generate",
                                  Permission::kModelsUse,
                                  false,
                                  {.operation_id = "generate",
                                   .summary = "Generates code from a description",
                                   .tag = "Code generation",
                                   .request = "GenerateRequest",
                                   .response = "GenerateResponse"},
                                  handler(&ParseGenerateRequest)}));
  return table.Add({"POST",
                    "/predict",
                    Permission::kModelsUse,
                    false,
                    {.operation_id = "predict",
                     .summary = "Asks a model for one deterministic answer",
                     .tag = "Models",
                     .request = "PredictRequest",
                     .response = "PredictResponse"},
                    handler(&ParsePredictRequest)});
}

void SendModel(const DepsPtr& deps, const Call& call) {
  std::string id(call.request().Param("id"));
  for (const v1::ModelInfo& model :
       VisibleModels(*deps->generation.scheduler, call.context().principal.get())) {
    if (model.id() == id || (id == "default" && (deps->limits.default_model.empty() ||
                                                 deps->limits.default_model == model.id()))) {
      return call.SendJson(200, ModelJson(model));
    }
  }
  call.Fail(ModelNotFound(id));
}

absl::Status AddModels(const DepsPtr& deps, EndpointTable& table) {
  WEFT_RETURN_IF_ERROR(table.Add({"GET",
                                  "/v1/models",
                                  Permission::kModelsRead,
                                  true,
                                  {.operation_id = "listModels",
                                   .summary = "Lists the models that can be asked for now",
                                   .tag = "OpenAI",
                                   .response = "ModelList"},
                                  [deps](const Call& call) {
                                    std::string body = R"({"object":"list","data":[)";
                                    bool first = true;
                                    for (const v1::ModelInfo& model :
                                         VisibleModels(*deps->generation.scheduler,
                                                       call.context().principal.get())) {
                                      if (!std::exchange(first, false)) body += ',';
                                      body += ModelJson(model);
                                    }
                                    call.SendJson(200, body + "]}");
                                  }}));
  WEFT_RETURN_IF_ERROR(table.Add({"GET",
                                  "/v1/models/{id}",
                                  Permission::kModelsRead,
                                  true,
                                  {.operation_id = "retrieveModel",
                                   .summary = "One model",
                                   .tag = "OpenAI",
                                   .response = "Model"},
                                  [deps](const Call& call) { SendModel(deps, call); }}));
  return table.Add({"GET",
                    "/models/{id}",
                    Permission::kModelsRead,
                    true,
                    {.operation_id = "getModel",
                     .summary = "One model; 'default' is the one that /predict uses",
                     .tag = "Models",
                     .response = "Model"},
                    [deps](const Call& call) { SendModel(deps, call); }});
}

absl::Status AddHealth(const DepsPtr& deps, EndpointTable& table) {
  WEFT_RETURN_IF_ERROR(
      table.Add({"GET",
                 "/health",
                 Guard::Public(),
                 false,
                 {.operation_id = "health",
                  .summary = "Liveness, and whether a model is loaded",
                  .tag = "Health",
                  .response = "Health"},
                 [deps](const Call& call) {
                   const bool loaded = !deps->generation.scheduler->Models().empty();
                   call.SendJson(200, loaded ? R"({"status":"healthy","model_loaded":true})"
                                             : R"({"status":"healthy","model_loaded":false})");
                 }}));
  WEFT_RETURN_IF_ERROR(table.Add({"GET",
                                  "/ready",
                                  Guard::Public(),
                                  false,
                                  {.operation_id = "ready",
                                   .summary = "Readiness: 503 while requests cannot be served",
                                   .tag = "Health",
                                   .response = "Readiness"},
                                  [deps](const Call& call) {
                                    std::string why;
                                    const bool ready = deps->ready(&why);
                                    json body = {{"status", ready ? "ready" : "not_ready"}};
                                    if (!ready) body["detail"] = why;
                                    call.SendJson(ready ? 200 : 503, body.dump());
                                  }}));
  WEFT_RETURN_IF_ERROR(table.Add({"GET",
                                  "/api/health",
                                  Guard::Public(),
                                  false,
                                  {.operation_id = "apiHealth",
                                   .summary = "Status, time and version",
                                   .tag = "Health",
                                   .response = "ApiHealth"},
                                  [deps](const Call& call) {
                                    const json body = {
                                        {"status", "healthy"},
                                        {"timestamp", Rfc3339(deps->generation.clock->Wall())},
                                        {"version", deps->version}};
                                    call.SendJson(200, body.dump());
                                  }}));
  return table.Add({"GET",
                    "/metrics",
                    Guard::Public(),
                    false,
                    {.operation_id = "metrics",
                     .summary = "Metrics in Prometheus' text format",
                     .tag = "Health",
                     .response = "text/plain"},
                    [deps](const Call& call) {
                      http::Response response;
                      response.headers.Add("Content-Type",
                                           "text/plain; version=0.0.4; charset=utf-8");
                      response.body = deps->metrics_text();
                      call.Send(std::move(response));
                    }});
}

}  // namespace

absl::StatusOr<std::unique_ptr<EndpointTable>> MakeApi(std::shared_ptr<const ApiDeps> deps) {
  auto table = std::make_unique<EndpointTable>();
  WEFT_RETURN_IF_ERROR(AddGeneration(deps, *table));
  WEFT_RETURN_IF_ERROR(AddModels(deps, *table));
  WEFT_RETURN_IF_ERROR(AddHealth(deps, *table));
  WEFT_RETURN_IF_ERROR(AddKeyRoutes(deps, *table));
  WEFT_RETURN_IF_ERROR(AddResourceRoutes(deps, *table));
  WEFT_RETURN_IF_ERROR(AddAuditRoutes(deps, *table));
  WEFT_RETURN_IF_ERROR(AddDataRoutes(deps, *table));
  WEFT_RETURN_IF_ERROR(AddTrafficRoutes(deps, *table));
  WEFT_RETURN_IF_ERROR(AddAuthRoutes(deps->login, *table));
  WEFT_RETURN_IF_ERROR(AddOidcRoutes(deps->login, *table));
  auto document = std::make_shared<std::string>();
  WEFT_RETURN_IF_ERROR(
      table->Add({"GET",
                  "/openapi.json",
                  Guard::Public(),
                  false,
                  {.operation_id = "openapi",
                   .summary = "This document",
                   .tag = "Health",
                   .response = "application/json"},
                  [document](const Call& call) { call.SendJson(200, *document); }}));
  WEFT_RETURN_IF_ERROR(
      table->Add({"GET",
                  "/docs",
                  Guard::Public(),
                  false,
                  {.operation_id = "docs",
                   .summary = "This document as a page",
                   .tag = "Health",
                   .response = "text/html"},
                  [](const Call& call) {
                    http::Response response;
                    response.headers.Add("Content-Type", "text/html; charset=utf-8");
                    response.headers.Add("Content-Security-Policy", DocsPagePolicy());
                    response.headers.Add("Referrer-Policy", "no-referrer");
                    response.body = DocsPage();
                    call.Send(std::move(response));
                  }}));
  *document = OpenApiDocument(*table, deps->version);
  return absl::StatusOr<std::unique_ptr<EndpointTable>>(std::move(table));
}

}  // namespace weft::gateway
