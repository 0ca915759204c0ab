#include "libs/telemetry/tracer.h"

#include <algorithm>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/telemetry/json_text.h"

namespace weft::telemetry {
namespace {

constexpr size_t kMaxAttributes = 128;
constexpr size_t kMaxEvents = 128;
constexpr size_t kMaxText = 4096;
constexpr size_t kMaxName = 256;

bool IsRetryable(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kResourceExhausted ||
         status.code() == absl::StatusCode::kAborted ||
         status.code() == absl::StatusCode::kDeadlineExceeded;
}

void Limit(AttributeValue& value) {
  if (auto* text = std::get_if<std::string>(&value)) {
    *text = ValidUtf8(*text, kMaxText);
  } else if (auto* list = std::get_if<std::vector<std::string>>(&value)) {
    if (list->size() > kMaxAttributes) list->resize(kMaxAttributes);
    for (std::string& item : *list) item = ValidUtf8(item, kMaxText);
  }
}

// OpenTelemetry's TraceIdRatioBased: the same decision for the same trace wherever it is made.
bool InRatio(const TraceId& id, double ratio) {
  if (ratio >= 1) return true;
  if (ratio <= 0) return false;
  uint64_t low = 0;
  for (size_t i = 8; i < 16; ++i) low = low << 8 | id[i];
  return static_cast<double>(low >> 1) < ratio * 0x1p63;
}

}  // namespace

Span& Span::operator=(Span&& other) noexcept {
  if (this != &other) {
    End();
    tracer_ = other.tracer_;
    context_ = std::move(other.context_);
    data_ = std::move(other.data_);
    started_ = other.started_;
    explicit_start_ = other.explicit_start_;
  }
  return *this;
}

void Span::SetValue(std::string_view key, AttributeValue value) {
  if (!data_) return;
  Limit(value);
  for (auto& [name, old] : data_->attributes) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  if (data_->attributes.size() >= kMaxAttributes) {
    ++data_->dropped_attributes;
    return;
  }
  data_->attributes.emplace_back(ValidUtf8(key, kMaxName), std::move(value));
}

void Span::AddEvent(std::string_view name, Attributes attributes) {
  if (!data_) return;
  if (data_->events.size() >= kMaxEvents) {
    ++data_->dropped_events;
    return;
  }
  if (attributes.size() > kMaxAttributes) attributes.resize(kMaxAttributes);
  for (auto& [key, value] : attributes) {
    key = ValidUtf8(key, kMaxName);
    Limit(value);
  }
  data_->events.push_back(
      {ValidUtf8(name, kMaxName), tracer_->clock_.Wall(), std::move(attributes)});
}

void Span::SetName(std::string_view name) {
  if (data_) data_->name = ValidUtf8(name, kMaxName);
}

void Span::SetStatus(const absl::Status& status) {
  if (!status.ok()) SetError(ToString(status));
}

void Span::SetError(std::string_view message) {
  if (!data_) return;
  data_->status = SpanStatus::kError;
  data_->status_message = ValidUtf8(message, kMaxText);
}

void Span::End() {
  if (!data_) return;
  // The steady clock measures the span, so that a step of the wall clock cannot make it negative.
  if (explicit_start_) {
    End(tracer_->clock_.Wall());
  } else {
    End(data_->start +
        std::chrono::duration_cast<WallTime::duration>(tracer_->clock_.Now() - started_));
  }
}

void Span::End(WallTime end) {
  if (!data_) return;
  data_->end = std::max(end, data_->start);
  tracer_->Finish(std::move(*data_));
  data_.reset();
}

Tracer::Tracer(TracerOptions options, std::unique_ptr<SpanExporter> exporter, const Clock& clock)
    : options_(options), exporter_(std::move(exporter)), clock_(clock) {
  if (exporter_) thread_ = std::thread([this] { Run(); });
}

Tracer::~Tracer() { Shutdown(std::chrono::seconds(2)); }

Span Tracer::Start(std::string_view name, SpanOptions options) {
  Span span;
  span.tracer_ = this;
  SpanContext& context = span.context_;
  const bool has_parent = options.parent.valid();
  if (has_parent) {
    context.trace_id = options.parent.trace_id;
    context.trace_state = std::move(options.parent.trace_state);
    context.sampled = options.parent.sampled;
  } else {
    RandomIdBytes(context.trace_id);
    context.sampled = exporter_ != nullptr && InRatio(context.trace_id, options_.sample_ratio);
  }
  RandomIdBytes(context.span_id);
  if (!context.sampled || exporter_ == nullptr) return span;
  span.data_ = std::make_unique<SpanData>();
  span.data_->context = context;
  if (has_parent) span.data_->parent = options.parent.span_id;
  span.data_->name = ValidUtf8(name, kMaxName);
  span.data_->kind = options.kind;
  span.data_->start = options.start.value_or(clock_.Wall());
  span.explicit_start_ = options.start.has_value();
  span.started_ = clock_.Now();
  return span;
}

SpanContext Tracer::Extract(std::string_view traceparent, std::string_view tracestate) {
  if (traceparent.empty()) return {};
  SpanContext context = ParseTraceparent(traceparent, tracestate);
  if (!context.valid()) bad_traceparents_.fetch_add(1, std::memory_order_relaxed);
  return context;
}

void Tracer::Finish(SpanData span) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    if (stopping_ || queue_.size() >= options_.queue_spans) {
      ++dropped_;
      return;
    }
    queue_.push_back(std::move(span));
    wake = queue_.size() == options_.batch_spans;
  }
  if (wake) changed_.notify_all();
}

void Tracer::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait_for(lock, options_.flush_interval,
                      [this] { return stopping_ || queue_.size() >= options_.batch_spans; });
    if (queue_.empty()) {
      if (stopping_) return;
      continue;
    }
    const size_t count = std::min(queue_.size(), options_.batch_spans);
    const auto end = queue_.begin() + static_cast<ptrdiff_t>(count);
    std::vector<SpanData> batch(std::make_move_iterator(queue_.begin()),
                                std::make_move_iterator(end));
    queue_.erase(queue_.begin(), end);
    lock.unlock();
    ExportBatch(batch);
    lock.lock();
  }
}

void Tracer::ExportBatch(const std::vector<SpanData>& batch) {
  using SteadyClock = std::chrono::steady_clock;
  const auto give_up = SteadyClock::now() + options_.retry_for;
  std::chrono::nanoseconds pause = std::chrono::milliseconds(100);
  while (true) {
    auto limit = give_up;
    {
      std::lock_guard lock(mutex_);
      if (stopping_) limit = std::min(limit, stop_by_);
    }
    const std::chrono::nanoseconds left = limit - SteadyClock::now();
    if (left <= std::chrono::nanoseconds(0)) break;
    const absl::Status status =
        exporter_->Export(batch, std::min<std::chrono::nanoseconds>(left, options_.export_timeout));
    if (status.ok()) {
      exported_ += batch.size();
      return;
    }
    if (!IsRetryable(status)) break;
    std::unique_lock lock(mutex_);
    // The end of the process cuts the pause short; then one more try is made.
    const bool was_stopping = stopping_;
    changed_.wait_for(lock, pause, [&] { return stopping_ && !was_stopping; });
    pause = std::min<std::chrono::nanoseconds>(pause * 2, std::chrono::seconds(5));
  }
  dropped_ += batch.size();
}

void Tracer::Shutdown(std::chrono::nanoseconds wait) {
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      stopping_ = true;
      stop_by_ = std::chrono::steady_clock::now() + wait;
    }
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

TracerStats Tracer::stats() const {
  std::lock_guard lock(mutex_);
  return {exported_, dropped_, bad_traceparents_, queue_.size()};
}

}  // namespace weft::telemetry
