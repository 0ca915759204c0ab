// What was used: one row for each request, and sums by day that quotas and bills read.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/store/database.h"

namespace weft::store {

struct UsageRecord {
  std::string id;  // unique for ever; a record written twice counts once
  std::string tenant;
  std::string project = {};
  std::string user_id = {};
  std::string key_id = {};
  std::string model;
  std::string model_version = {};
  std::string request_id = {};
  std::string endpoint = {};   // "/v1/chat/completions"
  std::string outcome = "ok";  // "ok", "cut", "failed", "blocked", …
  int64_t prompt_tokens = 0;   // of the prompt, cached ones included
  int64_t cached_prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cost_micros = 0;  // millionths of the currency's unit
  bool cached = false;      // answered out of the response cache: sums count the request alone
  int64_t duration_ms = 0;
  int64_t at_us = 0;  // Unix microseconds: which day it belongs to (UTC)
};

// Writes the records that are not there yet, and adds those to the sums, in one transaction: after
// an answer that was lost, the same call again changes nothing twice.
absl::Status AddUsage(Database& database, const std::vector<UsageRecord>& records);

struct UsageFilter {
  std::string from_day;  // "2026-01-31", inclusive, as until_day
  std::string until_day;
  // What the sums are kept apart by: any of day, month, tenant, project, user, key, model.
  std::vector<std::string> group_by;
  std::string project = {};  // empty: all, as the others
  std::string user_id = {};
  std::string key_id = {};
  std::string model = {};
};

struct UsageSum {
  std::vector<std::string> group;  // the values of group_by, in its order
  int64_t requests = 0;
  int64_t prompt_tokens = 0;
  int64_t cached_prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cost_micros = 0;
};

// Of the session's tenant, or of all where its scope is the system's. INVALID_ARGUMENT names the
// field. At most 10,000 groups: RESOURCE_EXHAUSTED beyond.
absl::StatusOr<std::vector<UsageSum>> SumUsage(Session& session, const UsageFilter& filter);

// A tenant's records in the order of their ids, behind `after`; at most `limit` (1 to 1000).
absl::StatusOr<std::vector<UsageRecord>> ReadUsage(Session& session, std::string_view tenant,
                                                   std::string_view after, size_t limit);
// Removes records older than that, `limit` at most (0: all); the sums stay. Returns how many.
absl::StatusOr<int64_t> PruneUsage(Session& session, std::string_view tenant, int64_t before_us,
                                   size_t limit = 0);

// "2026-01-31" of a time, UTC.
std::string UsageDay(int64_t at_us);
bool IsDay(std::string_view text);

}  // namespace weft::store
