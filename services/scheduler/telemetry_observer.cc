#include "services/scheduler/telemetry_observer.h"

#include <utility>

#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "libs/telemetry/semantic.h"

namespace weft::scheduler {
namespace {

const telemetry::Logger kLog("scheduler");
namespace semantic = telemetry::semantic;

const std::vector<double> kSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                      0.5,   1,      2.5,   5,    10,    25,   60};

WallTime ToWall(SteadyTime t) {
  const Clock& clock = Clock::Real();
  return clock.Wall() - std::chrono::duration_cast<WallTime::duration>(clock.Now() - t);
}

// "stop", "length", …; an error's gRPC code by name.
std::string StatusName(const RequestSummary& s) {
  switch (s.reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_CANCELLED:
      return "cancelled";
    case v1::FINISH_REASON_ERROR:
      if (s.error != nullptr) {
        return absl::StatusCodeToString(static_cast<absl::StatusCode>(s.error->code()));
      }
      return "error";
    default:
      return "unknown";
  }
}

}  // namespace

class TelemetryObserver::Trace final : public RequestTrace {
 public:
  Trace(telemetry::Tracer& tracer, telemetry::Span span)
      : tracer_(tracer), span_(std::move(span)) {}

  std::string Traceparent() const override { return span_.traceparent(); }
  void Queued(SteadyTime from, SteadyTime to, uint32_t attempt) override {
    telemetry::Span queue =
        tracer_.Start("queue", {.parent = span_.context(), .start = ToWall(from)});
    queue.Set(semantic::kAttempt, attempt);
    queue.End(ToWall(to));
  }
  telemetry::Span& span() { return span_; }

 private:
  telemetry::Tracer& tracer_;
  telemetry::Span span_;
};

TelemetryObserver::TelemetryObserver(telemetry::Registry& m, telemetry::Tracer& tracer)
    : tracer_(tracer),
      requests_(m.CounterWith("weft_scheduler_requests_total", "Sequences that ended, by how.",
                              {"model", "status"})),
      prompt_tokens_(m.CounterWith("weft_scheduler_prompt_tokens_total",
                                   "Prompt tokens of sequences that ended.", {"model"})),
      completion_tokens_(m.CounterWith("weft_scheduler_completion_tokens_total",
                                       "Tokens delivered to gateways.", {"model"})),
      queue_seconds_(m.HistogramWith("weft_scheduler_queue_seconds",
                                     "Time that a sequence waited for workers, all attempts.",
                                     {"model"}, kSeconds)),
      first_token_seconds_(m.HistogramWith("weft_scheduler_first_token_seconds",
                                           "From arrival to the first token.", {"model"},
                                           kSeconds)),
      request_seconds_(m.HistogramWith("weft_scheduler_request_seconds", "From arrival to the end.",
                                       {"model"}, kSeconds)),
      losses_(m.CounterWith("weft_scheduler_worker_losses_total",
                            "Worker sessions that ended, by why.", {"reason"})),
      redispatches_(m.CounterOf("weft_scheduler_redispatches_total",
                                "Sequences that went on at another worker.")),
      recomputed_tokens_(m.CounterOf("weft_scheduler_recomputed_tokens_total",
                                     "Output tokens that another worker prefilled again.")),
      numerics_changes_(m.CounterOf("weft_scheduler_numerics_changes_total",
                                    "Sequences that went on in another numerics class.")),
      suspects_(m.CounterOf("weft_scheduler_suspects_total",
                            "Sequences that ran alone after two worker losses.")),
      stale_rows_(m.CounterOf("weft_scheduler_stale_rows_total",
                              "Rows of sequences or attempts that were over.")),
      waiting_(m.GaugeOf("weft_scheduler_requests_waiting", "Sequences that do not run yet.")),
      running_(m.GaugeOf("weft_scheduler_requests_running", "Sequences on a worker.")),
      workers_(m.GaugeOf("weft_scheduler_workers", "Workers with a session.")),
      gateways_(m.GaugeOf("weft_scheduler_gateways", "Gateways with a session.")) {}

std::unique_ptr<RequestTrace> TelemetryObserver::BeginRequest(const v1::Submit& submit) {
  telemetry::Span span = tracer_.Start("schedule", {.parent = tracer_.Extract(submit.traceparent()),
                                                    .kind = telemetry::SpanKind::kServer});
  span.Set(semantic::kRequestId, submit.request_id());
  span.Set(semantic::kGenAiRequestModel, submit.model());
  if (submit.choice() > 0) span.Set(semantic::kChoice, submit.choice());
  return std::make_unique<Trace>(tracer_, std::move(span));
}

void TelemetryObserver::RequestFinished(const RequestSummary& s) {
  const std::string status = StatusName(s);
  // A name that no worker has is a client's invention and makes no series.
  const bool known = s.error == nullptr || s.error->field() != "model";
  const std::string_view model = known ? s.model : std::string_view("unknown");
  requests_.With({model, status}).Increment();
  if (s.prompt_tokens > 0) prompt_tokens_.With({model}).Increment(s.prompt_tokens);
  if (s.completion_tokens > 0) completion_tokens_.With({model}).Increment(s.completion_tokens);
  if (s.attempts > 0) queue_seconds_.With({model}).Observe(Seconds(s.queued));
  if (s.first_token) first_token_seconds_.With({model}).Observe(Seconds(*s.first_token));
  if (s.attempts > 0) request_seconds_.With({model}).Observe(Seconds(s.total));

  auto* trace = static_cast<Trace*>(s.trace);
  telemetry::Span& span = trace->span();
  span.Set(semantic::kGenAiInputTokens, s.prompt_tokens);
  span.Set(semantic::kGenAiOutputTokens, s.completion_tokens);
  span.Set(semantic::kCachedTokens, s.cached_prompt_tokens);
  span.Set(semantic::kAttempt, s.attempts);
  span.Set(semantic::kGenAiFinishReasons, std::vector<std::string>{status});
  if (s.error != nullptr) {
    span.SetStatus(
        absl::Status(static_cast<absl::StatusCode>(s.error->code()), AbslView(s.error->message())));
  }
  const telemetry::Level level =
      s.error != nullptr && s.error->code() == static_cast<int>(absl::StatusCode::kInternal)
          ? telemetry::Level::kError
          : telemetry::Level::kInfo;
  kLog.Log(level, "request finished",
           {{"request_id", s.request_id},
            span.context(),
            {"model", s.model},
            {"status", status},
            {"exception", s.error != nullptr ? std::string_view(s.error->message()) : ""},
            {"prompt_tokens", s.prompt_tokens},
            {"completion_tokens", s.completion_tokens},
            {"attempts", s.attempts},
            {"queue_ms", s.queued},
            {"generation_time_ms", s.total}});
  span.End();
}

void TelemetryObserver::WorkerReady(std::string_view worker, const v1::WorkerWelcome& welcome) {
  std::string models;
  for (const v1::ModelInfo& m : welcome.models()) {
    models += (models.empty() ? "" : ", ") + m.id();
  }
  kLog.Info("worker ready", {{"worker", worker}, {"models", models}});
}

void TelemetryObserver::WorkerLost(std::string_view worker, LossReason reason,
                                   std::string_view detail, size_t moved) {
  losses_.With({LossReasonName(reason)}).Increment();
  kLog.Warning("worker lost", {{"worker", worker},
                               {"reason", LossReasonName(reason)},
                               {"detail", detail},
                               {"sequences_moved", moved}});
}

void TelemetryObserver::Redispatched(std::string_view request_id, uint32_t attempt, size_t tokens,
                                     bool same_numerics) {
  redispatches_.Increment();
  recomputed_tokens_.Increment(static_cast<double>(tokens));
  if (!same_numerics) numerics_changes_.Increment();
  kLog.Info("request goes on at another worker", {{"request_id", request_id},
                                                  {"attempt", attempt},
                                                  {"tokens_so_far", tokens},
                                                  {"same_numerics", same_numerics}});
}

void TelemetryObserver::SuspectRunsAlone(std::string_view request_id) {
  suspects_.Increment();
  kLog.Warning("request was present at several worker losses and runs alone",
               {{"request_id", request_id}});
}

void TelemetryObserver::StaleRows(size_t rows) { stale_rows_.Increment(static_cast<double>(rows)); }

void TelemetryObserver::SetGauges(const Gauges& g) {
  waiting_.Set(static_cast<double>(g.queued));
  running_.Set(static_cast<double>(g.running));
  workers_.Set(static_cast<double>(g.workers));
  gateways_.Set(static_cast<double>(g.gateways));
}

}  // namespace weft::scheduler
