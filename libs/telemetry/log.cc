#include "libs/telemetry/log.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/telemetry/json_text.h"
#include "libs/telemetry/log_sink.h"

namespace weft::telemetry {
namespace {

constexpr std::array<std::string_view, 7> kOwnKeys = {"timestamp", "level",    "message", "logger",
                                                      "module",    "function", "line"};
constexpr std::array<std::string_view, 7> kFirstKeys = {
    "request_id", "user_id", "tenant", "generation_time_ms", "exception", "trace_id", "span_id"};
constexpr size_t kMaxFields = 64;
constexpr size_t kMaxLine = 65'536;

std::atomic<int> g_level{static_cast<int>(Level::kInfo)};
std::array<std::atomic<uint64_t>, 4> g_lines{};

struct Global {
  std::shared_mutex mutex;
  std::shared_ptr<LogSink> sink;
};
// Never destroyed: threads may log while the process ends.
Global& GlobalState() {
  static Global* global = new Global;
  return *global;
}

std::string_view LevelName(Level level) {
  switch (level) {
    case Level::kDebug:
      return "DEBUG";
    case Level::kInfo:
      return "INFO";
    case Level::kWarning:
      return "WARNING";
    case Level::kError:
      return "ERROR";
  }
  return "INFO";
}

// "libs/http/server" from an absolute or relative path of the source.
std::string_view Module(std::string_view file) {
  for (const std::string_view root : {"libs/", "services/", "tests/", "bench/"}) {
    const size_t at = file.rfind(root);
    if (at != std::string_view::npos && (at == 0 || file[at - 1] == '/')) {
      file.remove_prefix(at);
      break;
    }
  }
  return file.substr(0, file.rfind('.'));
}

void AppendValue(std::string& out, const LogField::Variant& value) {
  struct Visitor {
    std::string& out;
    void operator()(std::string_view v) const { AppendJsonString(out, v); }
    void operator()(const std::string& v) const { AppendJsonString(out, v); }
    void operator()(int64_t v) const { out += std::to_string(v); }
    void operator()(uint64_t v) const { out += std::to_string(v); }
    void operator()(bool v) const { out += v ? "true" : "false"; }
    void operator()(double v) const {
      out += std::isfinite(v) ? fmt::format("{}", v) : std::string("null");
    }
  };
  std::visit(Visitor{out}, value);
}

template <size_t N>
bool Contains(const std::array<std::string_view, N>& keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// Writes ,"key":value for each field, every key once.
class FieldWriter {
 public:
  explicit FieldWriter(std::string& out) : out_(out) {}

  void Add(std::string_view key, const LogField::Variant& value) {
    if (out_.size() > kMaxLine || seen_.size() >= kMaxFields) return;
    if (std::find(seen_.begin(), seen_.end(), key) != seen_.end()) return;
    seen_.push_back(key);
    out_ += ',';
    std::string name(key);
    if (Contains(kOwnKeys, key)) name += '_';
    AppendJsonString(out_, name, 128);
    out_ += ':';
    AppendValue(out_, value);
  }

 private:
  std::string& out_;
  std::vector<std::string_view> seen_;
};

void Emit(const std::string& line) {
  Global& global = GlobalState();
  std::shared_lock lock(global.mutex);
  if (global.sink) {
    global.sink->Write(line);
    return;
  }
  // Nothing to do about a failure: there is nowhere to say it.
  [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

LogField::LogField(std::string_view k, const absl::Status& v) : key(k), value(ToString(v)) {}

bool Logger::Enabled(Level level) {
  return static_cast<int>(level) >= g_level.load(std::memory_order_relaxed);
}

void Logger::Log(Level level, const LogMessage& message,
                 std::initializer_list<LogField> fields) const {
  if (!Enabled(level)) return;
  g_lines[static_cast<size_t>(level)].fetch_add(1, std::memory_order_relaxed);
  std::string line;
  line.reserve(384);
  line += "{\"timestamp\":\"";
  line += Rfc3339(Clock::Real().Wall());
  line += "\",\"level\":\"";
  line += LevelName(level);
  line += "\",\"message\":";
  AppendJsonString(line, message.text);
  line += ",\"logger\":";
  AppendJsonString(line, name_);
  line += ",\"module\":";
  AppendJsonString(line, Module(message.file));
  line += ",\"function\":";
  AppendJsonString(line, message.function);
  line += ",\"line\":";
  line += std::to_string(message.line);

  FieldWriter writer(line);
  for (const std::string_view first : kFirstKeys) {
    for (const LogField& field : fields) {
      if (field.trace != nullptr) {
        if (!field.trace->valid()) continue;
        if (first == "trace_id") writer.Add(first, Hex(field.trace->trace_id));
        if (first == "span_id") writer.Add(first, Hex(field.trace->span_id));
      } else if (field.key == first) {
        writer.Add(first, field.value);
      }
    }
  }
  for (const LogField& field : fields) {
    if (field.trace == nullptr && !Contains(kFirstKeys, field.key)) {
      writer.Add(field.key, field.value);
    }
  }
  line += "}\n";
  Emit(line);
}

void SetLogLevel(Level level) { g_level = static_cast<int>(level); }

void SetLogSink(std::shared_ptr<LogSink> sink) {
  Global& global = GlobalState();
  {
    std::unique_lock lock(global.mutex);
    global.sink.swap(sink);
  }
  // The old sink flushes here, outside of the lock.
}

uint64_t LogLines(Level level) { return g_lines[static_cast<size_t>(level)]; }

}  // namespace weft::telemetry
