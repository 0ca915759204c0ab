// OTLP's trace messages as plain structs, so that the collector's stages know neither protobuf nor
// JSON. Field by field as in the public opentelemetry/proto/trace/v1/trace.proto.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace weft::spans {

struct KeyValue;
struct AnyValue;

struct Bytes {
  std::string data;
  bool operator==(const Bytes&) const = default;
};

using ArrayValue = std::vector<AnyValue>;
using KeyValueList = std::vector<KeyValue>;

struct AnyValue {
  // monostate: no value was given, which OTLP allows.
  // No initializer here: it would ask for KeyValue before that is complete.
  std::variant<std::monostate, std::string, bool, int64_t, double, ArrayValue, KeyValueList, Bytes>
      value;
  bool operator==(const AnyValue&) const;
};

struct KeyValue {
  std::string key = {};
  AnyValue value = {};
  bool operator==(const KeyValue&) const = default;
};

using Attributes = std::vector<KeyValue>;

struct Event {
  uint64_t time_unix_nano = 0;
  std::string name;
  Attributes attributes;
  uint32_t dropped_attributes_count = 0;
  bool operator==(const Event&) const = default;
};

struct Link {
  std::string trace_id;  // raw bytes, as all ids here
  std::string span_id;
  std::string trace_state;
  Attributes attributes;
  uint32_t dropped_attributes_count = 0;
  uint32_t flags = 0;
  bool operator==(const Link&) const = default;
};

struct Span {
  std::string trace_id;
  std::string span_id;
  std::string trace_state;
  std::string parent_span_id;
  uint32_t flags = 0;
  std::string name;
  int32_t kind = 0;
  uint64_t start_time_unix_nano = 0;
  uint64_t end_time_unix_nano = 0;
  Attributes attributes;
  uint32_t dropped_attributes_count = 0;
  std::vector<Event> events;
  uint32_t dropped_events_count = 0;
  std::vector<Link> links;
  uint32_t dropped_links_count = 0;
  int32_t status_code = 0;
  std::string status_message;
  bool operator==(const Span&) const = default;
};

struct ScopeSpans {
  std::string scope_name;
  std::string scope_version;
  Attributes scope_attributes;
  uint32_t scope_dropped_attributes_count = 0;
  std::string schema_url;
  std::vector<Span> spans;
  bool operator==(const ScopeSpans&) const = default;
};

struct ResourceSpans {
  Attributes resource;
  uint32_t resource_dropped_attributes_count = 0;
  std::string schema_url;
  std::vector<ScopeSpans> scopes;
  bool operator==(const ResourceSpans&) const = default;
};

using Spans = std::vector<ResourceSpans>;

inline bool AnyValue::operator==(const AnyValue& other) const { return value == other.value; }

size_t CountSpans(const Spans& spans);

// About what the spans take in memory; never less than their text. Also an upper bound, within a
// few percent, of their OTLP protobuf encoding.
size_t ApproximateBytes(const Attributes& attributes);
size_t ApproximateBytes(const Span& span);
size_t ApproximateBytes(const Spans& spans);

}  // namespace weft::spans
