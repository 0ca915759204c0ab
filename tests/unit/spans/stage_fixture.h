// What the tests of the collector's stages share: spans to send, and a stage that takes them.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/spans/export_queue.h"
#include "libs/spans/intake.h"
#include "libs/spans/memory_limiter.h"
#include "libs/spans/stage.h"
#include "tests/support/catch.h"

namespace weft::spans {

using namespace std::chrono_literals;

inline Span MakeSpan(const std::string& name, size_t padding = 0) {
  Span span;
  span.trace_id = std::string(16, '\1');
  span.span_id = std::string(8, '\2');
  span.name = name;
  span.start_time_unix_nano = 1;
  span.end_time_unix_nano = 2;
  if (padding > 0) span.attributes.push_back({"padding", {std::string(padding, 'x')}});
  return span;
}

inline Spans MakeSpans(size_t count, size_t padding = 0, const std::string& service = "test") {
  ResourceSpans resource;
  resource.resource.push_back({"service.name", {service}});
  ScopeSpans scope;
  scope.scope_name = "scope";
  for (size_t i = 0; i < count; ++i) scope.spans.push_back(MakeSpan(std::to_string(i), padding));
  resource.scopes.push_back(std::move(scope));
  return {resource};
}

inline std::vector<std::string> Names(const Spans& spans) {
  std::vector<std::string> names;
  for (const auto& resource : spans) {
    for (const auto& scope : resource.scopes) {
      for (const auto& span : scope.spans) names.push_back(span.name);
    }
  }
  return names;
}

// Takes, or refuses while `full`.
class FakeStage final : public Stage {
 public:
  absl::Status Consume(Batch& batch) override {
    std::lock_guard lock(mutex_);
    ++calls_;
    if (full_) return WithRetryAfter(ResourceExhausted("full"), 10ms);
    batches_.push_back(std::move(batch));
    changed_.notify_all();
    return absl::OkStatus();
  }
  void Shutdown(std::chrono::nanoseconds) override {}
  void SetFull(bool full) {
    std::lock_guard lock(mutex_);
    full_ = full;
  }
  size_t WaitSpans(size_t count) {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, 10s, [&] { return SpansLocked() >= count; }));
    return SpansLocked();
  }
  size_t batches() {
    std::lock_guard lock(mutex_);
    return batches_.size();
  }
  std::vector<Batch> Take() {
    std::lock_guard lock(mutex_);
    return std::move(batches_);
  }

 private:
  size_t SpansLocked() const {
    size_t count = 0;
    for (const Batch& batch : batches_) count += CountSpans(batch.spans);
    return count;
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Batch> batches_;
  bool full_ = false;
  int calls_ = 0;
};

struct Fixture {
  telemetry::Registry registry;
  Metrics metrics{registry};
  MemoryLimiter memory{1 << 20};
  FakeStage next;

  bool Shows(const std::string& line) {
    const std::string text = registry.Expose();
    INFO(text);
    return text.find("\n" + line + "\n") != std::string::npos;
  }
};

// Answers from a script, then OK; remembers what it was sent.
struct Script {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<absl::Status> answers;
  std::vector<size_t> sent;
  size_t rejected = 0;
  bool hang = false;
  bool cancelled = false;

  void WaitCalls(size_t count) {
    std::unique_lock lock(mutex);
    REQUIRE(changed.wait_for(lock, 10s, [&] { return sent.size() >= count; }));
  }
};

class FakeSender final : public Sender {
 public:
  explicit FakeSender(Script& script) : script_(script) {}
  Result Send(const Spans& spans, std::chrono::nanoseconds timeout) override {
    std::unique_lock lock(script_.mutex);
    script_.sent.push_back(CountSpans(spans));
    script_.changed.notify_all();
    if (script_.hang) {
      script_.changed.wait_for(lock, timeout, [&] { return !script_.hang || script_.cancelled; });
      if (script_.hang) return {Cancelled("hangs")};
    }
    if (script_.answers.empty()) return {absl::OkStatus(), script_.rejected};
    const absl::Status status = script_.answers.front();
    script_.answers.erase(script_.answers.begin());
    return {status};
  }
  void Cancel() override {
    {
      std::lock_guard lock(script_.mutex);
      script_.cancelled = true;
    }
    script_.changed.notify_all();
  }

 private:
  Script& script_;
};

inline ExportOptions Fast() {
  ExportOptions options;
  options.senders = 1;
  options.backoff = {1ms, 5ms, 2.0, 0.2};
  return options;
}

}  // namespace weft::spans
