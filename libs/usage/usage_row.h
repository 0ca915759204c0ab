// What one request used.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace weft::usage {

struct UsageRow {
  std::string id;  // unique for ever: a row that comes again is the same row
  std::string tenant;
  std::string project;  // empty: none
  std::string user;     // who: "key:ID", "user:NAME"; empty: nobody known
  std::string key_id;
  std::string model;
  std::string model_version;
  std::string endpoint;  // "/v1/chat/completions", "weft.v1.InferenceService/Generate"
  std::string outcome;   // "stop", "length", "error", "cancelled", "lost" (the gateway died) …
  uint64_t prompt_tokens = 0;         // with the cached ones
  uint64_t cached_prompt_tokens = 0;  // of the prompt, found in the prefix cache
  uint64_t completion_tokens = 0;
  int64_t cost_micros = 0;  // millionths of the currency
  bool cached = false;      // the whole answer came out of the response cache
  int64_t duration_ms = 0;
  int64_t created_at_us = 0;  // Unix time of its end

  uint64_t tokens() const { return prompt_tokens + completion_tokens; }
  friend bool operator==(const UsageRow&, const UsageRow&) = default;
};

// One line of JSON, without the line's end.
std::string ToJson(const UsageRow& row);
// INVALID_ARGUMENT for anything that ToJson does not make; members that are missing are empty.
absl::StatusOr<UsageRow> FromJson(std::string_view line);

// Where rows stay, and what else the journal carries. Thread safe; blocks.
class UsageSink {
 public:
  virtual ~UsageSink() = default;
  // Durable when it returns OK, each id once however often it is written; all rows or none.
  virtual absl::Status Write(std::span<const UsageRow> rows) = 0;
  // Texts given to Spool::Note, in their order; the same promises.
  virtual absl::Status WriteNotes(std::span<const std::string> notes) = 0;
};

}  // namespace weft::usage
