#include <absl/strings/escaping.h>

#include <cmath>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/spans/otlp_json.h"
#include "libs/telemetry/json_text.h"

namespace weft::spans {
namespace {

constexpr size_t kNoLimit = ~size_t{0};

// Writes straight into one string. Fields with their default value are left out, as proto3's JSON
// does.
class Writer {
 public:
  std::string out;

  void Request(const Spans& spans) {
    out += "{\"resourceSpans\":";
    List(spans, [this](const ResourceSpans& r) { Resource(r); });
    out += '}';
  }

 private:
  template <typename T, typename Each>
  void List(const std::vector<T>& items, const Each& each) {
    out += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += ',';
      each(items[i]);
    }
    out += ']';
  }

  // Begins a member of the innermost object.
  void Key(const char* name) {
    if (out.back() != '{') out += ',';
    out += '"';
    out += name;
    out += "\":";
  }
  void Text(const char* name, const std::string& text) {
    if (text.empty()) return;
    Key(name);
    telemetry::AppendJsonString(out, text, kNoLimit);
  }
  void Id(const char* name, const std::string& id) {
    if (id.empty()) return;
    Key(name);
    out += '"';
    out += Hex(std::span(reinterpret_cast<const uint8_t*>(id.data()), id.size()));
    out += '"';
  }
  void Small(const char* name, int64_t number) {
    if (number == 0) return;
    Key(name);
    out += std::to_string(number);
  }
  void Time(const char* name, uint64_t nanos) {
    Key(name);
    out += fmt::format("\"{}\"", nanos);
  }
  void KeyValues(const char* name, const Attributes& attributes) {
    if (attributes.empty()) return;
    Key(name);
    List(attributes, [this](const KeyValue& entry) { Entry(entry); });
  }
  void Entry(const KeyValue& entry) {
    out += "{\"key\":";
    telemetry::AppendJsonString(out, entry.key, kNoLimit);
    out += ",\"value\":";
    Value(entry.value);
    out += '}';
  }

  void Value(const AnyValue& value) {
    out += '{';
    if (const auto* text = std::get_if<std::string>(&value.value)) {
      Key("stringValue");
      telemetry::AppendJsonString(out, *text, kNoLimit);
    } else if (const auto* flag = std::get_if<bool>(&value.value)) {
      Key("boolValue");
      out += *flag ? "true" : "false";
    } else if (const auto* number = std::get_if<int64_t>(&value.value)) {
      Key("intValue");
      out += fmt::format("\"{}\"", *number);
    } else if (const auto* real = std::get_if<double>(&value.value)) {
      Key("doubleValue");
      out += std::isnan(*real)   ? "\"NaN\""
             : std::isinf(*real) ? (*real > 0 ? "\"Infinity\"" : "\"-Infinity\"")
                                 : fmt::format("{}", *real);
    } else if (const auto* array = std::get_if<ArrayValue>(&value.value)) {
      Key("arrayValue");
      out += "{\"values\":";
      List(*array, [this](const AnyValue& item) { Value(item); });
      out += '}';
    } else if (const auto* list = std::get_if<KeyValueList>(&value.value)) {
      Key("kvlistValue");
      out += "{\"values\":";
      List(*list, [this](const KeyValue& entry) { Entry(entry); });
      out += '}';
    } else if (const auto* bytes = std::get_if<Bytes>(&value.value)) {
      Key("bytesValue");
      std::string encoded;
      absl::Base64Escape(bytes->data, &encoded);
      out += '"' + encoded + '"';
    }
    out += '}';
  }

  void Resource(const ResourceSpans& resource) {
    out += "{\"resource\":{";
    KeyValues("attributes", resource.resource);
    Small("droppedAttributesCount", resource.resource_dropped_attributes_count);
    out += '}';
    Text("schemaUrl", resource.schema_url);
    Key("scopeSpans");
    List(resource.scopes, [this](const ScopeSpans& scope) { Scope(scope); });
    out += '}';
  }

  void Scope(const ScopeSpans& scope) {
    out += "{\"scope\":{";
    Text("name", scope.scope_name);
    Text("version", scope.scope_version);
    KeyValues("attributes", scope.scope_attributes);
    Small("droppedAttributesCount", scope.scope_dropped_attributes_count);
    out += '}';
    Text("schemaUrl", scope.schema_url);
    Key("spans");
    List(scope.spans, [this](const Span& span) { OneSpan(span); });
    out += '}';
  }

  void OneSpan(const Span& span) {
    out += '{';
    Id("traceId", span.trace_id);
    Id("spanId", span.span_id);
    Text("traceState", span.trace_state);
    Id("parentSpanId", span.parent_span_id);
    Small("flags", span.flags);
    Text("name", span.name);
    Small("kind", span.kind);
    Time("startTimeUnixNano", span.start_time_unix_nano);
    Time("endTimeUnixNano", span.end_time_unix_nano);
    KeyValues("attributes", span.attributes);
    Small("droppedAttributesCount", span.dropped_attributes_count);
    if (!span.events.empty()) {
      Key("events");
      List(span.events, [this](const Event& event) {
        out += '{';
        Time("timeUnixNano", event.time_unix_nano);
        Text("name", event.name);
        KeyValues("attributes", event.attributes);
        Small("droppedAttributesCount", event.dropped_attributes_count);
        out += '}';
      });
    }
    Small("droppedEventsCount", span.dropped_events_count);
    if (!span.links.empty()) {
      Key("links");
      List(span.links, [this](const Link& link) {
        out += '{';
        Id("traceId", link.trace_id);
        Id("spanId", link.span_id);
        Text("traceState", link.trace_state);
        KeyValues("attributes", link.attributes);
        Small("droppedAttributesCount", link.dropped_attributes_count);
        Small("flags", link.flags);
        out += '}';
      });
    }
    Small("droppedLinksCount", span.dropped_links_count);
    Key("status");
    out += '{';
    Text("message", span.status_message);
    Small("code", span.status_code);
    out += "}}";
  }
};

}  // namespace

std::string ToOtlpJson(const Spans& spans) {
  Writer writer;
  writer.Request(spans);
  return std::move(writer.out);
}

}  // namespace weft::spans
