#include "services/worker/worker_telemetry.h"

#include <utility>

#include "libs/base/status.h"
#include "libs/telemetry/buckets.h"
#include "libs/telemetry/log.h"
#include "libs/telemetry/semantic.h"

namespace weft::worker {
namespace {

const telemetry::Logger kLog("worker");
namespace semantic = telemetry::semantic;

// vLLM's buckets.
const std::vector<double> kInterToken = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3,
                                         0.4,  0.5,   0.75, 1,     2.5, 5,    7.5, 10};
const std::vector<double> kRequest = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10, 15,
                                      20,  30,  40,  50, 60,  120, 240, 480, 960};
const std::vector<double> kTokens = {1,   2,   5,    10,   20,   50,    100,
                                     200, 500, 1000, 2000, 5000, 10000, 20000};
const std::vector<double> kBatch = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
const std::vector<double> kIteration = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};

double ToSeconds(std::chrono::microseconds d) { return static_cast<double>(d.count()) * 1e-6; }

std::string ReasonName(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kStop:
      return "stop";
    case engine::FinishReason::kLength:
      return "length";
    case engine::FinishReason::kCancelled:
      return "abort";
    case engine::FinishReason::kError:
      return "error";
  }
  return "error";
}

}  // namespace

struct WorkerTelemetry::Series {
  Series(telemetry::Registry& m, const std::string& model)
      : first_token(m.HistogramWith("weft_time_to_first_token_seconds",
                                    "From arrival at the worker to the first token.",
                                    {"model_name"}, telemetry::kFirstTokenBuckets)
                        .With({model})),
        inter_token(m.HistogramWith("weft_inter_token_latency_seconds",
                                    "Between two tokens of a sequence.", {"model_name"},
                                    kInterToken)
                        .With({model})),
        per_output_token(m.HistogramWith("weft_time_per_output_token_seconds",
                                         "Mean time per token after the first, per sequence.",
                                         {"model_name"}, kInterToken)
                             .With({model})),
        iteration_tokens(m.HistogramWith("weft_iteration_tokens_total",
                                         "Tokens run through the model in one step.",
                                         {"model_name"}, kIteration)
                             .With({model})),
        batch_size(m.HistogramWith("weft_batch_size", "Sequences that took part in one step.",
                                   {"model_name"}, kBatch)
                       .With({model})),
        queue(m.HistogramWith("weft_request_queue_time_seconds",
                              "From arrival at the worker to the first step.", {"model_name"},
                              kRequest)
                  .With({model})),
        prefill(m.HistogramWith("weft_request_prefill_time_seconds",
                                "From the first step to the first token.", {"model_name"}, kRequest)
                    .With({model})),
        decode(m.HistogramWith("weft_request_decode_time_seconds",
                               "From the first token to the end.", {"model_name"}, kRequest)
                   .With({model})),
        latency(m.HistogramWith("weft_e2e_request_latency_seconds",
                                "From arrival at the worker to the end.", {"model_name"}, kRequest)
                    .With({model})),
        prompt_tokens(m.HistogramWith("weft_request_prompt_tokens", "Prompt tokens of a sequence.",
                                      {"model_name"}, kTokens)
                          .With({model})),
        generation_tokens(m.HistogramWith("weft_request_generation_tokens",
                                          "Output tokens of a sequence, earlier attempts included.",
                                          {"model_name"}, kTokens)
                              .With({model})),
        success(m.CounterWith("weft_request_success_total", "Sequences that ended, by how.",
                              {"model_name", "finished_reason"})) {}

  telemetry::Histogram first_token;
  telemetry::Histogram inter_token;
  telemetry::Histogram per_output_token;
  telemetry::Histogram iteration_tokens;
  telemetry::Histogram batch_size;
  telemetry::Histogram queue;
  telemetry::Histogram prefill;
  telemetry::Histogram decode;
  telemetry::Histogram latency;
  telemetry::Histogram prompt_tokens;
  telemetry::Histogram generation_tokens;
  telemetry::CounterFamily success;
};

WorkerTelemetry::WorkerTelemetry(telemetry::Registry& metrics, telemetry::Tracer& tracer,
                                 std::string worker_id,
                                 const std::vector<std::unique_ptr<ModelHost>>& models)
    : metrics_(metrics), tracer_(tracer), worker_id_(std::move(worker_id)), models_(models) {
  for (const auto& owned : models_) {
    const ModelHost* host = owned.get();
    const v1::ModelInfo& info = host->info();
    series_.push_back(std::make_unique<Series>(metrics, info.id()));
    const auto gauge = [&](const char* name, const char* help, auto value) {
      watches_.push_back(metrics.WatchGauge(name, help, {{"model_name", info.id()}},
                                            [host, value] { return value(host->Stats()); }));
    };
    const auto counter = [&](const char* name, const char* help, auto value) {
      watches_.push_back(metrics.WatchCounter(name, help, {{"model_name", info.id()}},
                                              [host, value] { return value(host->Stats()); }));
    };
    using Stats = engine::EngineStats;
    gauge("weft_num_requests_running", "Sequences that run.",
          [](const Stats& s) { return static_cast<double>(s.running); });
    gauge("weft_num_requests_waiting", "Sequences that wait at the worker.",
          [](const Stats& s) { return static_cast<double>(s.waiting); });
    gauge("weft_kv_cache_usage_perc", "Part of the KV cache in use; 1 = all.", [](const Stats& s) {
      if (s.kv_blocks_total == 0) return 0.0;
      return 1.0 - static_cast<double>(s.kv_blocks_free) / static_cast<double>(s.kv_blocks_total);
    });
    counter("weft_prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
            [](const Stats& s) { return static_cast<double>(s.prefix_query_tokens); });
    counter("weft_prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
            [](const Stats& s) { return static_cast<double>(s.prefix_hit_tokens); });
    counter("weft_num_preemptions_total", "Sequences that lost their KV blocks for a while.",
            [](const Stats& s) { return static_cast<double>(s.preemptions); });
    counter("weft_prompt_tokens_total", "Prompt tokens of sequences that began to run.",
            [](const Stats& s) { return static_cast<double>(s.prompt_tokens); });
    counter("weft_generation_tokens_total", "Tokens sampled.",
            [](const Stats& s) { return static_cast<double>(s.output_tokens); });
    counter("weft_engine_steps_total", "Engine steps.",
            [](const Stats& s) { return static_cast<double>(s.steps); });
    counter("weft_engine_failed_steps_total", "Forward passes that failed.",
            [](const Stats& s) { return static_cast<double>(s.failures); });
    if (!host->pci_bus_id().empty()) {
      counter("weft_device_busy_seconds_total", "Time from the first to the last kernel of steps.",
              [](const Stats& s) { return s.device_seconds; });
      counter("weft_device_gap_seconds_total",
              "Time between two steps of which the second was on its way before the first ended.",
              [](const Stats& s) { return s.gap_seconds; });
      counter("weft_device_gaps_total", "Such pairs of steps.",
              [](const Stats& s) { return static_cast<double>(s.gaps); });
    }
    counter("weft_kv_evictions_total", "KV blocks thrown out of the prefix cache.",
            [](const Stats& s) { return static_cast<double>(s.evictions); });

    metrics
        .GaugeWith("model_memory_bytes", "Memory of weights, KV cache and scratch.", {"model_name"})
        .With({info.id()})
        .Set(static_cast<double>(info.memory_bytes()));
    metrics
        .GaugeWith("weft_model_load_seconds", "From opening the model's file to ready to serve.",
                   {"model_name"})
        .With({info.id()})
        .Set(host->load_seconds());
    metrics
        .GaugeWith("weft_model_load_bytes_per_second",
                   "Weights in the file by the time it took to repack them, or to copy them to a "
                   "GPU.",
                   {"model_name"})
        .With({info.id()})
        .Set(host->load_bytes_per_second());
    metrics
        .GaugeWith("model_info", "The model served: always 1.",
                   {"model_id", "version", "framework", "architecture", "quantization"})
        .With({info.id(), info.version(), "weft", info.architecture(), info.quantization()})
        .Set(1);
  }
}

WorkerTelemetry::~WorkerTelemetry() {
  for (const int handle : watches_) metrics_.Unwatch(handle);
}

void WorkerTelemetry::OnStep(size_t model, const engine::StepOutput& output) {
  Series& s = *series_[model];
  for (const double v : output.ttft_seconds) s.first_token.Observe(v);
  for (const double v : output.itl_seconds) s.inter_token.Observe(v);
  const uint32_t rows = output.prefill_rows + output.decode_rows;
  if (rows > 0) s.iteration_tokens.Observe(rows);
  if (output.sequences > 0) s.batch_size.Observe(output.sequences);
}

void WorkerTelemetry::OnFinish(const ItemRecord& item, const engine::StepFinish& f) {
  Series& s = *series_[item.model];
  const std::string reason = ReasonName(f.reason);
  s.success.With({models_[item.model]->info().id(), reason}).Increment();
  s.queue.Observe(ToSeconds(f.queue_time));
  s.prefill.Observe(ToSeconds(f.prefill_time));
  s.decode.Observe(ToSeconds(f.decode_time));
  s.latency.Observe(ToSeconds(f.queue_time + f.prefill_time + f.decode_time));
  s.prompt_tokens.Observe(f.prompt_tokens);
  s.generation_tokens.Observe(f.output_tokens);
  if (f.output_tokens > 1) {
    s.per_output_token.Observe(ToSeconds(f.decode_time) / (f.output_tokens - 1));
  }

  const SteadyTime now = Clock::Real().Now();
  const WallTime end = Clock::Real().Wall();
  const WallTime begin = end - std::chrono::duration_cast<WallTime::duration>(now - item.submitted);
  const WallTime started = begin + f.queue_time;
  const WallTime first = started + f.prefill_time;
  // Without a parent there is no trace to belong to: the scheduler's decision.
  if (!item.traceparent.empty()) {
    telemetry::Span span = tracer_.Start("worker", {.parent = tracer_.Extract(item.traceparent),
                                                    .kind = telemetry::SpanKind::kServer,
                                                    .start = begin});
    span.Set(semantic::kRequestId, item.request_id);
    span.Set(semantic::kWorker, worker_id_);
    span.Set(semantic::kAttempt, item.attempt);
    span.Set(semantic::kGenAiRequestModel, models_[item.model]->info().id());
    span.Set(semantic::kGenAiInputTokens, f.prompt_tokens);
    span.Set(semantic::kGenAiOutputTokens, f.output_tokens);
    span.Set(semantic::kCachedTokens, f.cached_prompt_tokens);
    span.Set(semantic::kGenAiFinishReasons, std::vector<std::string>{reason});
    if (f.reason == engine::FinishReason::kError) span.SetStatus(f.error);
    if (f.prefill_time.count() > 0) {
      telemetry::Span prefill =
          tracer_.Start("prefill", {.parent = span.context(), .start = started});
      prefill.End(std::min(first, end));
    }
    if (f.decode_time.count() > 0) {
      telemetry::Span decode =
          tracer_.Start("decode", {.parent = span.context(), .start = std::min(first, end)});
      decode.End(std::min(first + f.decode_time, end));
    }
    kLog.Info("sequence ended", {{"request_id", item.request_id},
                                 span.context(),
                                 {"reason", reason},
                                 {"attempt", item.attempt},
                                 {"prompt_tokens", f.prompt_tokens},
                                 {"output_tokens", f.output_tokens},
                                 {"generation_time_ms", end - begin}});
    span.End(end);
  }
}

}  // namespace weft::worker
