// Spans come from anywhere: bounds their sizes and counts, and removes those that are no spans.
#pragma once

#include <cstddef>
#include <string>

#include "libs/spans/model.h"

namespace weft::spans {

struct Limits {
  size_t attributes = 128;       // of a resource, scope, span, event or link
  size_t events = 256;           // of a span
  size_t links = 128;            // of a span
  size_t text_bytes = 16 << 10;  // of one text or bytes value
  size_t name_bytes = 1024;      // of a span's or event's name, a key, a schema URL
  size_t array_items = 256;      // of one list value
  int depth = 8;                 // of nested values
};

struct CheckResult {
  size_t rejected = 0;   // spans removed
  std::string reason;    // why the first one was
  size_t shortened = 0;  // texts cut, attributes, events or links dropped (dropped_…_count grows)
};

// Removes spans without a valid trace id (16 bytes, not all zero) or span id (8 bytes), with a
// broken parent id, or without a start time. Cuts what is beyond the limits, makes text valid
// UTF-8, and moves an end before the start to the start.
CheckResult CheckSpans(Spans& spans, const Limits& limits);

}  // namespace weft::spans
