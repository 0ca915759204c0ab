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

  template <typename Members>
  void Object(const Members& members) {
    out += '{';
    members();
    out += '}';
  }
  // What five of OTLP's messages end with.
  void Attributed(const Attributes& attributes, uint32_t dropped) {
    KeyValues("attributes", attributes);
    Small("droppedAttributesCount", dropped);
  }
  // A list of objects, left out when it is empty.
  template <typename T, typename Members>
  void Objects(const char* name, const std::vector<T>& items, const Members& members) {
    if (items.empty()) return;
    Key(name);
    List(items, [&](const T& item) { Object([&] { members(item); }); });
  }
  // A resource or a scope: what it is, its schema, and what belongs to it.
  template <typename Members, typename T, typename Each>
  void Owner(const char* name, const Members& members, const std::string& schema_url,
             const char* items_name, const std::vector<T>& items, const Each& each) {
    Object([&] {
      Key(name);
      Object(members);
      Text("schemaUrl", schema_url);
      Key(items_name);
      List(items, each);
    });
  }

  void Resource(const ResourceSpans& resource) {
    Owner(
        "resource",
        [&] { Attributed(resource.resource, resource.resource_dropped_attributes_count); },
        resource.schema_url, "scopeSpans", resource.scopes,
        [this](const ScopeSpans& scope) { Scope(scope); });
  }

  void Scope(const ScopeSpans& scope) {
    Owner(
        "scope",
        [&] {
          Text("name", scope.scope_name);
          Text("version", scope.scope_version);
          Attributed(scope.scope_attributes, scope.scope_dropped_attributes_count);
        },
        scope.schema_url, "spans", scope.spans,
        [this](const Span& span) { Object([&] { OneSpan(span); }); });
  }

  void OneSpan(const Span& span) {
    Id("traceId", span.trace_id);
    Id("spanId", span.span_id);
    Text("traceState", span.trace_state);
    Id("parentSpanId", span.parent_span_id);
    Small("flags", span.flags);
    Text("name", span.name);
    Small("kind", span.kind);
    Time("startTimeUnixNano", span.start_time_unix_nano);
    Time("endTimeUnixNano", span.end_time_unix_nano);
    Attributed(span.attributes, span.dropped_attributes_count);
    Objects("events", span.events, [this](const Event& event) {
      Time("timeUnixNano", event.time_unix_nano);
      Text("name", event.name);
      Attributed(event.attributes, event.dropped_attributes_count);
    });
    Small("droppedEventsCount", span.dropped_events_count);
    Objects("links", span.links, [this](const Link& link) {
      Id("traceId", link.trace_id);
      Id("spanId", link.span_id);
      Text("traceState", link.trace_state);
      Attributed(link.attributes, link.dropped_attributes_count);
      Small("flags", link.flags);
    });
    Small("droppedLinksCount", span.dropped_links_count);
    Key("status");
    Object([&] {
      Text("message", span.status_message);
      Small("code", span.status_code);
    });
  }
};

}  // namespace

std::string ToOtlpJson(const Spans& spans) {
  Writer writer;
  writer.Request(spans);
  return std::move(writer.out);
}

}  // namespace weft::spans
