#include "libs/spans/check.h"

#include <algorithm>
#include <limits>

#include "libs/telemetry/json_text.h"

namespace weft::spans {
namespace {

constexpr size_t kTraceIdBytes = 16;
constexpr size_t kSpanIdBytes = 8;
constexpr size_t kTraceStateBytes = 512;

bool IsId(const std::string& id, size_t size) {
  return id.size() == size && std::any_of(id.begin(), id.end(), [](char c) { return c != 0; });
}

void Grow(uint32_t& counter, size_t by) {
  const size_t room = std::numeric_limits<uint32_t>::max() - counter;
  counter += static_cast<uint32_t>(std::min(by, room));
}

class Checker {
 public:
  explicit Checker(const Limits& limits) : limits_(limits) {}

  CheckResult result;

  void CheckResource(ResourceSpans& resource) {
    CutAttributes(resource.resource, resource.resource_dropped_attributes_count);
    Cut(resource.schema_url, limits_.name_bytes);
    for (ScopeSpans& scope : resource.scopes) {
      Cut(scope.scope_name, limits_.name_bytes);
      Cut(scope.scope_version, limits_.name_bytes);
      Cut(scope.schema_url, limits_.name_bytes);
      CutAttributes(scope.scope_attributes, scope.scope_dropped_attributes_count);
      std::erase_if(scope.spans, [this](Span& span) { return !Keep(span); });
    }
    std::erase_if(resource.scopes, [](const ScopeSpans& scope) { return scope.spans.empty(); });
  }

 private:
  bool Keep(Span& span) {
    const char* fault = nullptr;
    if (!IsId(span.trace_id, kTraceIdBytes)) {
      fault = "trace_id: must have 16 bytes, not all zero";
    } else if (!IsId(span.span_id, kSpanIdBytes)) {
      fault = "span_id: must have 8 bytes, not all zero";
    } else if (!span.parent_span_id.empty() && span.parent_span_id.size() != kSpanIdBytes) {
      fault = "parent_span_id: must be empty or have 8 bytes";
    } else if (span.start_time_unix_nano == 0) {
      fault = "start_time_unix_nano: must be set";
    }
    if (fault != nullptr) {
      ++result.rejected;
      if (result.reason.empty()) result.reason = fault;
      return false;
    }
    Trim(span);
    return true;
  }

  void Trim(Span& span) {
    // Some SDKs write a root's parent as zeros.
    if (!IsId(span.parent_span_id, kSpanIdBytes)) span.parent_span_id.clear();
    span.end_time_unix_nano = std::max(span.end_time_unix_nano, span.start_time_unix_nano);
    if (span.kind < 0 || span.kind > 5) span.kind = 0;
    if (span.status_code < 0 || span.status_code > 2) span.status_code = 0;
    Cut(span.name, limits_.name_bytes);
    Cut(span.status_message, limits_.text_bytes);
    Cut(span.trace_state, kTraceStateBytes);
    CutAttributes(span.attributes, span.dropped_attributes_count);
    CutList(span.events, limits_.events, span.dropped_events_count);
    for (Event& event : span.events) {
      Cut(event.name, limits_.name_bytes);
      CutAttributes(event.attributes, event.dropped_attributes_count);
    }
    const size_t before = span.links.size();
    std::erase_if(span.links, [](const Link& link) {
      return !IsId(link.trace_id, kTraceIdBytes) || !IsId(link.span_id, kSpanIdBytes);
    });
    Grow(span.dropped_links_count, before - span.links.size());
    CutList(span.links, limits_.links, span.dropped_links_count);
    for (Link& link : span.links) {
      Cut(link.trace_state, kTraceStateBytes);
      CutAttributes(link.attributes, link.dropped_attributes_count);
    }
  }

  template <typename T>
  void CutList(std::vector<T>& list, size_t limit, uint32_t& dropped) {
    if (list.size() <= limit) return;
    Grow(dropped, list.size() - limit);
    list.resize(limit);
    ++result.shortened;
  }

  void CutAttributes(Attributes& attributes, uint32_t& dropped) {
    const size_t before = attributes.size();
    std::erase_if(attributes, [](const KeyValue& entry) { return entry.key.empty(); });
    Grow(dropped, before - attributes.size());
    CutList(attributes, limits_.attributes, dropped);
    for (KeyValue& entry : attributes) {
      Cut(entry.key, limits_.name_bytes);
      CutValue(entry.value, 1);
    }
  }

  void CutValue(AnyValue& value, int depth) {
    if (auto* text = std::get_if<std::string>(&value.value)) {
      Cut(*text, limits_.text_bytes);
    } else if (auto* bytes = std::get_if<Bytes>(&value.value)) {
      if (bytes->data.size() > limits_.text_bytes) {
        bytes->data.resize(limits_.text_bytes);
        ++result.shortened;
      }
    } else if (auto* array = std::get_if<ArrayValue>(&value.value)) {
      if (TooDeep(value, depth)) return;
      if (array->size() > limits_.array_items) {
        array->resize(limits_.array_items);
        ++result.shortened;
      }
      for (AnyValue& item : *array) CutValue(item, depth + 1);
    } else if (auto* list = std::get_if<KeyValueList>(&value.value)) {
      if (TooDeep(value, depth)) return;
      if (list->size() > limits_.array_items) {
        list->resize(limits_.array_items);
        ++result.shortened;
      }
      for (KeyValue& entry : *list) {
        Cut(entry.key, limits_.name_bytes);
        CutValue(entry.value, depth + 1);
      }
    }
  }

  bool TooDeep(AnyValue& value, int depth) {
    if (depth < limits_.depth) return false;
    value.value = std::monostate();
    ++result.shortened;
    return true;
  }

  void Cut(std::string& text, size_t limit) {
    std::string valid = telemetry::ValidUtf8(text, limit);
    if (valid == text) return;
    text = std::move(valid);
    ++result.shortened;
  }

  const Limits& limits_;
};

}  // namespace

CheckResult CheckSpans(Spans& spans, const Limits& limits) {
  Checker checker(limits);
  for (ResourceSpans& resource : spans) checker.CheckResource(resource);
  std::erase_if(spans, [](const ResourceSpans& resource) { return resource.scopes.empty(); });
  return std::move(checker.result);
}

}  // namespace weft::spans
