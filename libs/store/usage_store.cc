#include "libs/store/usage_store.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "libs/base/clock.h"
#include "libs/base/error_info.h"
#include "libs/base/status.h"

namespace weft::store {
namespace {

constexpr std::string_view kColumns =
    "id, tenant, project, user_id, key_id, model, request_id, endpoint, outcome, prompt_tokens, "
    "cached_prompt_tokens, completion_tokens, cost_micros, cached, duration_ms, created_at_us, "
    "model_version";
constexpr int64_t kMaxGroups = 10'000;

using DayKey = std::tuple<std::string, std::string, std::string, std::string, std::string,
                          std::string>;  // tenant, day, project, user, key, model

struct DaySum {
  int64_t requests = 0, prompt = 0, cached = 0, completion = 0, cost = 0;
};

absl::Status AddToDay(Session& session, const DayKey& key, const DaySum& sum) {
  const auto& [tenant, day, project, user, api_key, model] = key;
  return session
      .Run(
          "INSERT INTO usage_daily (tenant, day, project, user_id, key_id, model, requests, "
          "prompt_tokens, cached_prompt_tokens, completion_tokens, cost_micros) VALUES ($1, $2, "
          "$3, $4, $5, $6, $7, $8, $9, $10, $11) "
          "ON CONFLICT (tenant, day, project, user_id, key_id, model) DO UPDATE SET "
          "requests = usage_daily.requests + excluded.requests, "
          "prompt_tokens = usage_daily.prompt_tokens + excluded.prompt_tokens, "
          "cached_prompt_tokens = usage_daily.cached_prompt_tokens + "
          "excluded.cached_prompt_tokens, "
          "completion_tokens = usage_daily.completion_tokens + excluded.completion_tokens, "
          "cost_micros = usage_daily.cost_micros + excluded.cost_micros",
          {tenant, day, project, user, api_key, model, sum.requests, sum.prompt, sum.cached,
           sum.completion, sum.cost})
      .status();
}

}  // namespace

std::string UsageDay(int64_t at_us) {
  return Rfc3339(WallTime(std::chrono::microseconds(at_us))).substr(0, 10);
}

bool IsDay(std::string_view text) {
  if (text.size() != 10) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 4 || i == 7;
    if (dash ? text[i] != '-' : text[i] < '0' || text[i] > '9') return false;
  }
  return text.substr(5, 2) >= "01" && text.substr(5, 2) <= "12" && text.substr(8) >= "01" &&
         text.substr(8) <= "31";
}

absl::Status AddUsage(Database& database, const std::vector<UsageRecord>& records) {
  if (records.empty()) return absl::OkStatus();
  // In the ids' order: two writers of the same rows do not deadlock.
  std::vector<const UsageRecord*> ordered;
  for (const UsageRecord& record : records) ordered.push_back(&record);
  std::sort(ordered.begin(), ordered.end(),
            [](const UsageRecord* a, const UsageRecord* b) { return a->id < b->id; });
  return database.Write(Scope::System(), [&](Session& session) -> absl::Status {
    std::map<DayKey, DaySum> days;
    for (const UsageRecord* record : ordered) {
      const UsageRecord& r = *record;
      WEFT_ASSIGN_OR_RETURN(
          const Result inserted,
          session.Run(
              fmt::format("INSERT INTO usage_records ({}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, "
                          "$9, $10, $11, $12, $13, $14, $15, $16, $17) ON CONFLICT (id) DO NOTHING",
                          kColumns),
              {r.id, r.tenant, r.project, r.user_id, r.key_id, r.model, r.request_id, r.endpoint,
               r.outcome, r.prompt_tokens, r.cached_prompt_tokens, r.completion_tokens,
               r.cost_micros, r.cached, r.duration_ms, r.at_us, r.model_version}));
      if (inserted.changed == 0) continue;  // it was there
      DaySum& sum = days[{r.tenant, UsageDay(r.at_us), r.project, r.user_id, r.key_id, r.model}];
      ++sum.requests;
      sum.cost += r.cost_micros;
      if (r.cached) continue;  // nothing was computed for it
      sum.prompt += r.prompt_tokens;
      sum.cached += r.cached_prompt_tokens;
      sum.completion += r.completion_tokens;
    }
    for (const auto& [key, sum] : days) {
      WEFT_RETURN_IF_ERROR(AddToDay(session, key, sum));
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<UsageSum>> SumUsage(Session& session, const UsageFilter& filter) {
  static const std::map<std::string, std::string, std::less<>> kGroups = {
      {"day", "day"},       {"month", "substr(day, 1, 7)"},
      {"tenant", "tenant"}, {"project", "project"},
      {"user", "user_id"},  {"key", "key_id"},
      {"model", "model"}};
  std::vector<std::string> columns;
  for (const std::string& name : filter.group_by) {
    const auto it = kGroups.find(name);
    if (it == kGroups.end()) {
      return WithField(InvalidArgument("group_by: must be day, month, tenant, project, user, key "
                                       "or model, not '{}'",
                                       name.substr(0, 32)),
                       "group_by");
    }
    columns.push_back(it->second);
  }
  std::vector<std::string> where = {"TRUE"};
  Values values;
  const auto add = [&](std::string_view condition, const std::string& value) {
    values.emplace_back(value);
    where.push_back(fmt::format("{} ${}", condition, values.size()));
  };
  if (!session.scope().system()) add("tenant =", session.scope().tenant());
  for (const auto& [name, condition, day] : {std::tuple("from", "day >=", &filter.from_day),
                                             std::tuple("until", "day <=", &filter.until_day)}) {
    if (day->empty()) continue;
    if (!IsDay(*day)) {
      return WithField(InvalidArgument("{}: must be a day such as 2026-01-31", name), name);
    }
    add(condition, *day);
  }
  if (!filter.project.empty()) add("project =", filter.project);
  if (!filter.user_id.empty()) add("user_id =", filter.user_id);
  if (!filter.key_id.empty()) add("key_id =", filter.key_id);
  if (!filter.model.empty()) add("model =", filter.model);
  const std::string groups = fmt::format("{}", fmt::join(columns, ", "));
  const auto sum = [](const char* column) {
    return fmt::format("COALESCE(CAST(SUM({}) AS BIGINT), 0)", column);
  };
  WEFT_ASSIGN_OR_RETURN(
      const Result result,
      session.Run(
          fmt::format("SELECT {}{} {}, {}, {}, {}, {} FROM usage_daily WHERE {} {}{} {}{} "
                      "LIMIT {}",
                      groups, groups.empty() ? "" : ",", sum("requests"), sum("prompt_tokens"),
                      sum("cached_prompt_tokens"), sum("completion_tokens"), sum("cost_micros"),
                      fmt::join(where, " AND "), groups.empty() ? "" : "GROUP BY ", groups,
                      groups.empty() ? "" : "ORDER BY ", groups, kMaxGroups + 1),
          values));
  if (result.rows.size() > static_cast<size_t>(kMaxGroups)) {
    return ResourceExhausted("more than {} groups: ask for fewer days or a coarser group_by",
                             kMaxGroups);
  }
  std::vector<UsageSum> sums;
  const size_t n = columns.size();
  for (const Row& row : result.rows) {
    UsageSum out;
    for (size_t i = 0; i < n; ++i) out.group.push_back(row.Text(i));
    out.requests = row.Int(n);
    out.prompt_tokens = row.Int(n + 1);
    out.cached_prompt_tokens = row.Int(n + 2);
    out.completion_tokens = row.Int(n + 3);
    out.cost_micros = row.Int(n + 4);
    sums.push_back(std::move(out));
  }
  return sums;
}

absl::StatusOr<std::vector<UsageRecord>> ReadUsage(Session& session, std::string_view tenant,
                                                   std::string_view after, size_t limit) {
  if (!session.scope().Covers(tenant)) return PermissionDenied("the usage of another tenant");
  WEFT_ASSIGN_OR_RETURN(
      const Result result,
      session.Run(fmt::format("SELECT {} FROM usage_records WHERE tenant = $1 AND id > $2 "
                              "ORDER BY id LIMIT $3",
                              kColumns),
                  {tenant, after, static_cast<int64_t>(std::clamp<size_t>(limit, 1, 1000))}));
  std::vector<UsageRecord> records;
  for (const Row& row : result.rows) {
    UsageRecord r;
    r.id = row.Text(0);
    r.tenant = row.Text(1);
    r.project = row.Text(2);
    r.user_id = row.Text(3);
    r.key_id = row.Text(4);
    r.model = row.Text(5);
    r.request_id = row.Text(6);
    r.endpoint = row.Text(7);
    r.outcome = row.Text(8);
    r.prompt_tokens = row.Int(9);
    r.cached_prompt_tokens = row.Int(10);
    r.completion_tokens = row.Int(11);
    r.cost_micros = row.Int(12);
    r.cached = row.Int(13) != 0;
    r.duration_ms = row.Int(14);
    r.at_us = row.Int(15);
    r.model_version = row.Text(16);
    records.push_back(std::move(r));
  }
  return records;
}

absl::StatusOr<int64_t> PruneUsage(Session& session, std::string_view tenant, int64_t before_us,
                                   size_t limit) {
  if (!session.scope().Covers(tenant)) return PermissionDenied("the usage of another tenant");
  WEFT_ASSIGN_OR_RETURN(
      const Result result,
      session.Run(fmt::format("DELETE FROM usage_records WHERE id IN (SELECT id FROM usage_records "
                              "WHERE tenant = $1 AND created_at_us < $2{})",
                              limit > 0 ? fmt::format(" LIMIT {}", limit) : std::string()),
                  {tenant, before_us}));
  return result.changed;
}

}  // namespace weft::store
