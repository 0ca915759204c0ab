#include "libs/spans/model.h"

namespace weft::spans {
namespace {

// Tags, lengths, numbers and the structs' own size.
constexpr size_t kValueOverhead = 16;
constexpr size_t kEventOverhead = 48;
constexpr size_t kSpanOverhead = 160;

size_t ValueBytes(const AnyValue& value) {
  size_t bytes = kValueOverhead;
  if (const auto* text = std::get_if<std::string>(&value.value)) {
    bytes += text->size();
  } else if (const auto* data = std::get_if<Bytes>(&value.value)) {
    bytes += data->data.size();
  } else if (const auto* array = std::get_if<ArrayValue>(&value.value)) {
    for (const AnyValue& item : *array) bytes += ValueBytes(item);
  } else if (const auto* list = std::get_if<KeyValueList>(&value.value)) {
    bytes += ApproximateBytes(*list);
  }
  return bytes;
}

}  // namespace

size_t CountSpans(const Spans& spans) {
  size_t count = 0;
  for (const ResourceSpans& resource : spans) {
    for (const ScopeSpans& scope : resource.scopes) count += scope.spans.size();
  }
  return count;
}

size_t ApproximateBytes(const Attributes& attributes) {
  size_t bytes = 0;
  for (const KeyValue& entry : attributes) {
    bytes += kValueOverhead + entry.key.size() + ValueBytes(entry.value);
  }
  return bytes;
}

size_t ApproximateBytes(const Span& span) {
  size_t bytes = kSpanOverhead + span.trace_id.size() + span.span_id.size() +
                 span.trace_state.size() + span.parent_span_id.size() + span.name.size() +
                 span.status_message.size() + ApproximateBytes(span.attributes);
  for (const Event& event : span.events) {
    bytes += kEventOverhead + event.name.size() + ApproximateBytes(event.attributes);
  }
  for (const Link& link : span.links) {
    bytes += kEventOverhead + link.trace_id.size() + link.span_id.size() + link.trace_state.size() +
             ApproximateBytes(link.attributes);
  }
  return bytes;
}

size_t ApproximateBytes(const Spans& spans) {
  size_t bytes = 0;
  for (const ResourceSpans& resource : spans) {
    bytes += kEventOverhead + resource.schema_url.size() + ApproximateBytes(resource.resource);
    for (const ScopeSpans& scope : resource.scopes) {
      bytes += kEventOverhead + scope.scope_name.size() + scope.scope_version.size() +
               scope.schema_url.size() + ApproximateBytes(scope.scope_attributes);
      for (const Span& span : scope.spans) bytes += ApproximateBytes(span);
    }
  }
  return bytes;
}

}  // namespace weft::spans
