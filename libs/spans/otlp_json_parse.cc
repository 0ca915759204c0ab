#include <absl/strings/escaping.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/spans/otlp_json.h"

namespace weft::spans {
namespace {

using Json = nlohmann::json;
constexpr int kMaxDepth = 64;

// The first error ends the parse; its message is kept here while the functions below return.
class Parser {
 public:
  absl::Status status;

  Spans Request(const Json& root) {
    Spans out;
    if (!Object(root, "the request")) return out;
    List(root, "resourceSpans", "resource_spans",
         [&](const Json& item, const std::string& at) { out.push_back(Resource(item, at)); });
    return out;
  }

 private:
  bool Fail(const std::string& at, std::string_view why) {
    if (status.ok()) status = InvalidArgument("{}: {}", at, why);
    return false;
  }

  bool Object(const Json& value, const std::string& at) {
    return value.is_object() || Fail(at, "must be an object");
  }

  // proto3 JSON takes both the camelCase and the original name; null is as good as absent.
  static const Json* Find(const Json& object, const char* camel, const char* snake) {
    auto found = object.find(camel);
    if (found == object.end()) found = object.find(snake);
    if (found == object.end() || found->is_null()) return nullptr;
    return &*found;
  }

  template <typename Each>
  void List(const Json& object, const char* camel, const char* snake, const Each& each,
            const std::string& at = "") {
    const Json* list = Find(object, camel, snake);
    if (list == nullptr || !status.ok()) return;
    const std::string name = at.empty() ? camel : at + "." + camel;
    if (!list->is_array()) {
      Fail(name, "must be a list");
      return;
    }
    for (size_t i = 0; i < list->size() && status.ok(); ++i) {
      each((*list)[i], fmt::format("{}[{}]", name, i));
    }
  }

  std::string Text(const Json& object, const char* camel, const char* snake,
                   const std::string& at) {
    const Json* value = Find(object, camel, snake);
    if (value == nullptr) return {};
    if (!value->is_string()) {
      Fail(at + "." + camel, "must be a string");
      return {};
    }
    return value->get<std::string>();
  }

  std::string Id(const Json& object, const char* camel, const char* snake, const std::string& at) {
    const std::string hex = Text(object, camel, snake, at);
    std::string id(hex.size() / 2, '\0');
    if (hex.size() > 64 || hex.size() % 2 != 0 ||
        !ParseHex(hex, std::span(reinterpret_cast<uint8_t*>(id.data()), id.size()))) {
      Fail(at + "." + camel, "must be hexadecimal");
      return {};
    }
    return id;
  }

  // Numbers may be written as strings, and whole numbers as 1.0 or 1e3.
  template <typename T>
  T Number(const Json& object, const char* camel, const char* snake, const std::string& at) {
    const Json* value = Find(object, camel, snake);
    T out = 0;
    if (value != nullptr && !ToNumber(*value, out)) {
      Fail(at + "." + camel,
           fmt::format("must be a whole number from {} to {}", std::numeric_limits<T>::min(),
                       std::numeric_limits<T>::max()));
    }
    return out;
  }

  template <typename T>
  static bool ToNumber(const Json& value, T& out) {
    if (value.is_string()) {
      const std::string& text = value.get_ref<const std::string&>();
      const auto parsed = std::from_chars(text.data(), text.data() + text.size(), out);
      return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && !text.empty();
    }
    if (value.is_number_unsigned()) {
      const auto number = value.get<uint64_t>();
      out = static_cast<T>(number);
      return number <= static_cast<uint64_t>(std::numeric_limits<T>::max());
    }
    if (value.is_number_integer()) {
      const auto number = value.get<int64_t>();
      out = static_cast<T>(number);
      return std::is_signed_v<T> && number >= static_cast<int64_t>(std::numeric_limits<T>::min()) &&
             (number < 0 || static_cast<uint64_t>(number) <=
                                static_cast<uint64_t>(std::numeric_limits<T>::max()));
    }
    if (value.is_number_float()) {
      const double number = value.get<double>();
      // 2^53: beyond it a double is not a sure whole number.
      if (std::floor(number) != number || std::fabs(number) > 0x1p53) return false;
      if (number < static_cast<double>(std::numeric_limits<T>::min()) ||
          number > static_cast<double>(std::numeric_limits<T>::max())) {
        return false;
      }
      out = static_cast<T>(number);
      return true;
    }
    return false;
  }

  int32_t Enum(const Json& object, const char* name, std::string_view prefix,
               std::initializer_list<std::string_view> names, const std::string& at) {
    const Json* value = Find(object, name, name);
    if (value == nullptr) return 0;
    // OTLP asks for numbers; some senders write proto3's names.
    if (value->is_string()) {
      std::string_view text = value->get_ref<const std::string&>();
      if (text.starts_with(prefix)) text.remove_prefix(prefix.size());
      int32_t index = 0;
      for (const std::string_view known : names) {
        if (text == known) return index;
        ++index;
      }
    }
    return Number<int32_t>(object, name, name, at);
  }

  AnyValue Value(const Json& value, const std::string& at, int depth) {
    AnyValue out;
    if (value.is_null() || !Object(value, at)) return out;
    if (depth > kMaxDepth) {
      Fail(at, "is nested too deep");
      return out;
    }
    if (const Json* text = Find(value, "stringValue", "string_value")) {
      if (!text->is_string())
        Fail(at + ".stringValue", "must be a string");
      else
        out.value = text->get<std::string>();
    } else if (const Json* flag = Find(value, "boolValue", "bool_value")) {
      if (!flag->is_boolean())
        Fail(at + ".boolValue", "must be true or false");
      else
        out.value = flag->get<bool>();
    } else if (Find(value, "intValue", "int_value") != nullptr) {
      out.value = Number<int64_t>(value, "intValue", "int_value", at);
    } else if (const Json* number = Find(value, "doubleValue", "double_value")) {
      out.value = Double(*number, at + ".doubleValue");
    } else if (const Json* array = Find(value, "arrayValue", "array_value")) {
      ArrayValue items;
      if (Object(*array, at + ".arrayValue")) {
        List(
            *array, "values", "values",
            [&](const Json& item, const std::string& place) {
              items.push_back(Value(item, place, depth + 1));
            },
            at + ".arrayValue");
      }
      out.value = std::move(items);
    } else if (const Json* list = Find(value, "kvlistValue", "kvlist_value")) {
      KeyValueList entries;
      if (Object(*list, at + ".kvlistValue")) {
        entries = KeyValues(*list, "values", at + ".kvlistValue", depth + 1);
      }
      out.value = std::move(entries);
    } else if (Find(value, "bytesValue", "bytes_value") != nullptr) {
      const std::string text64 = Text(value, "bytesValue", "bytes_value", at);
      Bytes bytes;
      if (!absl::Base64Unescape(text64, &bytes.data) &&
          !absl::WebSafeBase64Unescape(text64, &bytes.data)) {
        Fail(at + ".bytesValue", "must be base64");
      }
      out.value = std::move(bytes);
    }
    return out;
  }

  double Double(const Json& value, const std::string& at) {
    if (value.is_number()) return value.get<double>();
    if (value.is_string()) {
      const std::string& text = value.get_ref<const std::string&>();
      if (text == "NaN") return std::nan("");
      if (text == "Infinity") return HUGE_VAL;
      if (text == "-Infinity") return -HUGE_VAL;
      double out = 0;
      const auto parsed = std::from_chars(text.data(), text.data() + text.size(), out);
      if (parsed.ec == std::errc() && parsed.ptr == text.data() + text.size()) return out;
    }
    Fail(at, "must be a number");
    return 0;
  }

  Attributes KeyValues(const Json& object, const char* name, const std::string& at, int depth = 1) {
    Attributes out;
    List(
        object, name, name,
        [&](const Json& item, const std::string& place) {
          if (!Object(item, place)) return;
          KeyValue& entry = out.emplace_back();
          entry.key = Text(item, "key", "key", place);
          if (const Json* value = Find(item, "value", "value")) {
            entry.value = Value(*value, place + ".value", depth);
          }
        },
        at);
    return out;
  }

  ResourceSpans Resource(const Json& object, const std::string& at) {
    ResourceSpans out;
    if (!Object(object, at)) return out;
    if (const Json* resource = Find(object, "resource", "resource")) {
      const std::string place = at + ".resource";
      if (!Object(*resource, place)) return out;
      out.resource = KeyValues(*resource, "attributes", place);
      out.resource_dropped_attributes_count = Dropped(*resource, "Attributes", "attributes", place);
    }
    out.schema_url = Text(object, "schemaUrl", "schema_url", at);
    List(
        object, "scopeSpans", "scope_spans",
        [&](const Json& item, const std::string& place) {
          out.scopes.push_back(Scope(item, place));
        },
        at);
    return out;
  }

  uint32_t Dropped(const Json& object, const std::string& what, const std::string& snake,
                   const std::string& at) {
    return Number<uint32_t>(object, ("dropped" + what + "Count").c_str(),
                            ("dropped_" + snake + "_count").c_str(), at);
  }

  ScopeSpans Scope(const Json& object, const std::string& at) {
    ScopeSpans out;
    if (!Object(object, at)) return out;
    if (const Json* scope = Find(object, "scope", "scope")) {
      const std::string place = at + ".scope";
      if (!Object(*scope, place)) return out;
      out.scope_name = Text(*scope, "name", "name", place);
      out.scope_version = Text(*scope, "version", "version", place);
      out.scope_attributes = KeyValues(*scope, "attributes", place);
      out.scope_dropped_attributes_count = Dropped(*scope, "Attributes", "attributes", place);
    }
    out.schema_url = Text(object, "schemaUrl", "schema_url", at);
    List(
        object, "spans", "spans",
        [&](const Json& item, const std::string& place) {
          out.spans.push_back(OneSpan(item, place));
        },
        at);
    return out;
  }

  Span OneSpan(const Json& object, const std::string& at) {
    Span out;
    if (!Object(object, at)) return out;
    out.trace_id = Id(object, "traceId", "trace_id", at);
    out.span_id = Id(object, "spanId", "span_id", at);
    out.trace_state = Text(object, "traceState", "trace_state", at);
    out.parent_span_id = Id(object, "parentSpanId", "parent_span_id", at);
    out.flags = Number<uint32_t>(object, "flags", "flags", at);
    out.name = Text(object, "name", "name", at);
    out.kind = Enum(object, "kind", "SPAN_KIND_",
                    {"UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"}, at);
    out.start_time_unix_nano =
        Number<uint64_t>(object, "startTimeUnixNano", "start_time_unix_nano", at);
    out.end_time_unix_nano = Number<uint64_t>(object, "endTimeUnixNano", "end_time_unix_nano", at);
    out.attributes = KeyValues(object, "attributes", at);
    out.dropped_attributes_count = Dropped(object, "Attributes", "attributes", at);
    List(
        object, "events", "events",
        [&](const Json& item, const std::string& place) {
          if (!Object(item, place)) return;
          Event& event = out.events.emplace_back();
          event.time_unix_nano = Number<uint64_t>(item, "timeUnixNano", "time_unix_nano", place);
          event.name = Text(item, "name", "name", place);
          event.attributes = KeyValues(item, "attributes", place);
          event.dropped_attributes_count = Dropped(item, "Attributes", "attributes", place);
        },
        at);
    out.dropped_events_count = Dropped(object, "Events", "events", at);
    List(
        object, "links", "links",
        [&](const Json& item, const std::string& place) {
          if (!Object(item, place)) return;
          Link& link = out.links.emplace_back();
          link.trace_id = Id(item, "traceId", "trace_id", place);
          link.span_id = Id(item, "spanId", "span_id", place);
          link.trace_state = Text(item, "traceState", "trace_state", place);
          link.attributes = KeyValues(item, "attributes", place);
          link.dropped_attributes_count = Dropped(item, "Attributes", "attributes", place);
          link.flags = Number<uint32_t>(item, "flags", "flags", place);
        },
        at);
    out.dropped_links_count = Dropped(object, "Links", "links", at);
    if (const Json* found = Find(object, "status", "status")) {
      const std::string place = at + ".status";
      if (!Object(*found, place)) return out;
      out.status_message = Text(*found, "message", "message", place);
      out.status_code = Enum(*found, "code", "STATUS_CODE_", {"UNSET", "OK", "ERROR"}, place);
    }
    return out;
  }
};

}  // namespace

absl::StatusOr<Spans> ParseOtlpJson(std::string_view text) {
  try {
    const Json root = Json::parse(text);
    Parser parser;
    Spans spans = parser.Request(root);
    if (!parser.status.ok()) return parser.status;
    return spans;
  } catch (const Json::exception& error) {
    return InvalidArgument("the body is not JSON: {}", error.what());
  }
}

}  // namespace weft::spans
