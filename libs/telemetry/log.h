// JSON-lines logs: one object a line, whatever the message holds.
//
//   namespace { const telemetry::Logger kLog("gateway"); }
//   kLog.Info("request finished", {{"request_id", id}, {"generation_time_ms", 12.5},
//   span.context()});
//
// Fields, in this order: timestamp, level, message, logger, module, function, line, then when given
// request_id, user_id, tenant, generation_time_ms, exception, trace_id, span_id, then all others.
// Logging never blocks, throws or fails: lines that cannot be written are dropped and counted.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "libs/telemetry/trace_context.h"

namespace weft::telemetry {

enum class Level { kDebug, kInfo, kWarning, kError };

// A key and its value; valid only within the call it is written in. Keys that the logger sets
// itself get an underscore. The first of two equal keys wins.
struct LogField {
  using Variant = std::variant<std::string_view, std::string, int64_t, uint64_t, double, bool>;

  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const std::string& v) : key(k), value(std::string_view(v)) {}
  LogField(std::string_view k, const char* v) : key(k), value(std::string_view(v)) {}
  LogField(std::string_view k, bool v) : key(k), value(v) {}
  LogField(std::string_view k, std::chrono::nanoseconds v)  // as milliseconds
      : key(k), value(static_cast<double>(v.count()) * 1e-6) {}
  LogField(std::string_view k, const absl::Status& v);
  template <std::integral T>
  LogField(std::string_view k, T v) : key(k) {
    if constexpr (std::is_signed_v<T>) {
      value = static_cast<int64_t>(v);
    } else {
      value = static_cast<uint64_t>(v);
    }
  }
  template <std::floating_point T>
  LogField(std::string_view k, T v) : key(k), value(static_cast<double>(v)) {}
  // trace_id and span_id; nothing for an invalid context.
  LogField(const SpanContext& c) : trace(&c) {}  // NOLINT(google-explicit-constructor)

  std::string_view key;
  Variant value;
  const SpanContext* trace = nullptr;
};

// A message and the place of the call, filled by the compiler.
struct LogMessage {
  template <typename T>
  // NOLINTNEXTLINE(google-explicit-constructor)
  requires std::convertible_to<T, std::string_view> LogMessage(
      const T& t, const char* call_file = __builtin_FILE(),
      const char* call_function = __builtin_FUNCTION(), int call_line = __builtin_LINE())
      : text(t), file(call_file), function(call_function), line(call_line) {}

  std::string_view text;
  const char* file;
  const char* function;
  int line;
};

// Thread safe and cheap; usually a constant of a .cc file.
class Logger {
 public:
  explicit Logger(std::string_view name) : name_(name) {}  // a literal: it is not copied

  void Debug(LogMessage m, std::initializer_list<LogField> f = {}) const {
    Log(Level::kDebug, m, f);
  }
  void Info(LogMessage m, std::initializer_list<LogField> f = {}) const { Log(Level::kInfo, m, f); }
  void Warning(LogMessage m, std::initializer_list<LogField> f = {}) const {
    Log(Level::kWarning, m, f);
  }
  void Error(LogMessage m, std::initializer_list<LogField> f = {}) const {
    Log(Level::kError, m, f);
  }

  void Log(Level level, const LogMessage& message, std::initializer_list<LogField> fields) const;
  static bool Enabled(Level level);

 private:
  const std::string_view name_;
};

// Where lines go. One thread writes; Write only queues.
class LogSink;

// Lines below `level` are not made. Default: info.
void SetLogLevel(Level level);
// Until one is set, and after nullptr, lines go to stderr at once.
void SetLogSink(std::shared_ptr<LogSink> sink);
uint64_t LogLines(Level level);  // made since the process began

}  // namespace weft::telemetry
