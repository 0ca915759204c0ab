// A small tracer: spans with W3C context, head sampling, a bounded queue, one exporting thread.
//
//   Span span = tracer.Start("POST /v1/chat/completions",
//                            {.parent = tracer.Extract(traceparent), .kind = SpanKind::kServer});
//   span.Set(semantic::kGenAiRequestModel, model);
//   …                                             // ends at End() or when it goes out of scope
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "libs/base/clock.h"
#include "libs/telemetry/span.h"

namespace weft::telemetry {

class Tracer;

struct SpanOptions {
  SpanContext parent = {};  // invalid: a new trace
  SpanKind kind = SpanKind::kInternal;
  std::optional<WallTime> start = {};  // default: now
};

// One thread at a time. Movable. A span of a trace that is not sampled keeps nothing but its
// context. The tracer must outlive it.
class Span {
 public:
  Span() = default;  // belongs to no trace; does nothing
  Span(Span&& other) noexcept = default;
  Span& operator=(Span&& other) noexcept;
  ~Span() { End(); }

  const SpanContext& context() const { return context_; }
  // For the next service's metadata; empty when there is no trace.
  std::string traceparent() const { return FormatTraceparent(context_); }
  bool recording() const { return data_ != nullptr; }

  // At most 128 attributes (the same key again replaces) and 4096 bytes of text in each value.
  void Set(std::string_view key, std::string_view value) { SetValue(key, std::string(value)); }
  void Set(std::string_view key, std::vector<std::string> value) {
    SetValue(key, std::move(value));
  }
  template <std::integral T>
  void Set(std::string_view key, T value) {
    if constexpr (std::same_as<T, bool>) {
      SetValue(key, value);
    } else {
      SetValue(key, static_cast<int64_t>(value));
    }
  }
  template <std::floating_point T>
  void Set(std::string_view key, T value) {
    SetValue(key, static_cast<double>(value));
  }
  // At most 128 events.
  void AddEvent(std::string_view name, Attributes attributes = {});
  void SetName(std::string_view name);
  // An error status; OK leaves the status unset, as the conventions ask.
  void SetStatus(const absl::Status& status);
  void SetError(std::string_view message);

  // Hands the span to the exporter. What comes later is ignored.
  void End();
  void End(WallTime end);

 private:
  friend class Tracer;
  void SetValue(std::string_view key, AttributeValue value);

  Tracer* tracer_ = nullptr;
  SpanContext context_;
  std::unique_ptr<SpanData> data_;
  SteadyTime started_;
  bool explicit_start_ = false;
};

struct TracerOptions {
  double sample_ratio = 1;  // of traces that begin here; a parent's decision is always kept
  size_t queue_spans = 8192;
  size_t batch_spans = 512;
  std::chrono::milliseconds flush_interval{500};
  std::chrono::milliseconds export_timeout{5'000};
  // A batch that cannot be exported is tried again for this long while later spans queue up.
  std::chrono::milliseconds retry_for{30'000};
};

struct TracerStats {
  uint64_t exported = 0;
  uint64_t dropped = 0;  // the queue was full, or the export failed for good
  uint64_t bad_traceparents = 0;
  uint64_t queued = 0;
};

// Thread safe.
class Tracer {
 public:
  // Without an exporter contexts are made and passed on, and nothing is recorded.
  Tracer(TracerOptions options, std::unique_ptr<SpanExporter> exporter,
         const Clock& clock = Clock::Real());
  ~Tracer();  // as Shutdown for 2 s
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  Span Start(std::string_view name, SpanOptions options = {});

  // The caller's context; an invalid one (so a new trace) when the header is bad, which is counted.
  // An absent header is not bad.
  SpanContext Extract(std::string_view traceparent, std::string_view tracestate = {});

  // Exports what is queued, for at most `wait`, then ends the thread. Later spans are dropped.
  // Legal twice.
  void Shutdown(std::chrono::nanoseconds wait);

  TracerStats stats() const;

 private:
  friend class Span;
  void Finish(SpanData span);
  void Run();
  void ExportBatch(const std::vector<SpanData>& batch);

  const TracerOptions options_;
  const std::unique_ptr<SpanExporter> exporter_;
  const Clock& clock_;
  std::atomic<uint64_t> exported_ = 0;
  std::atomic<uint64_t> dropped_ = 0;
  std::atomic<uint64_t> bad_traceparents_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<SpanData> queue_;
  bool stopping_ = false;
  std::chrono::steady_clock::time_point stop_by_;
  std::thread thread_;
};

}  // namespace weft::telemetry
