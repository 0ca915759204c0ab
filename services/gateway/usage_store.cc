#include "services/gateway/usage_store.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "libs/base/status.h"

namespace weft::gateway {
namespace {

using store::Scope;

int64_t Signed(uint64_t value) { return static_cast<int64_t>(value); }

// The parts of a charge's key, which TrafficGuard makes: scope, names, what is counted, month.
struct QuotaKey {
  char scope = 0;  // k, u, t
  std::string_view tenant;
  std::string_view name;
  bool money = false;
  std::string_view month;
};

std::optional<QuotaKey> ParseQuotaKey(std::string_view key) {
  QuotaKey out;
  if (key.size() < 2 || key[1] != ':') return std::nullopt;
  out.scope = key[0];
  std::string_view rest = key.substr(2);
  const auto take_last = [&rest] {
    const size_t colon = rest.rfind(':');
    if (colon == std::string_view::npos) return std::string_view();
    const std::string_view last = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    return last;
  };
  out.month = take_last();
  const std::string_view counted = take_last();
  if (out.month.size() != 7 || (counted != "tok" && counted != "cost")) return std::nullopt;
  out.money = counted == "cost";
  out.name = rest;
  if (out.scope != 'u') return out;
  const size_t colon = rest.find(':');  // a tenant's name has none
  if (colon == std::string_view::npos) return std::nullopt;
  out.tenant = rest.substr(0, colon);
  out.name = rest.substr(colon + 1);
  return out;
}

}  // namespace

absl::Status DatabaseUsageStore::Write(std::span<const usage::UsageRow> rows) {
  std::vector<store::UsageRecord> records;
  records.reserve(rows.size());
  for (const usage::UsageRow& row : rows) {
    store::UsageRecord& record = records.emplace_back();
    record.id = row.id;
    record.tenant = row.tenant;
    record.project = row.project;
    record.user_id = row.user;
    record.key_id = row.key_id;
    record.model = row.model;
    record.model_version = row.model_version;
    record.request_id = row.id;
    record.endpoint = row.endpoint;
    record.outcome = row.outcome;
    record.prompt_tokens = Signed(row.prompt_tokens);
    record.cached_prompt_tokens = Signed(row.cached_prompt_tokens);
    record.completion_tokens = Signed(row.completion_tokens);
    record.cost_micros = row.cost_micros;
    record.cached = row.cached;
    record.duration_ms = row.duration_ms;
    record.at_us = row.created_at_us;
  }
  return store::AddUsage(*database_, records);
}

absl::StatusOr<uint64_t> DatabaseUsageStore::UsedThisMonth(const limits::Charge& charge) {
  const auto key = ParseQuotaKey(charge.key);
  if (!key) return InvalidArgument("'{}' names no quota", charge.key);
  store::UsageFilter filter;
  filter.from_day = std::string(key->month) + "-01";
  filter.until_day = std::string(key->month) + "-31";
  if (key->scope == 'u') filter.user_id = key->name;
  if (key->scope == 'k') filter.key_id = key->name;
  const std::string_view tenant = key->scope == 't' ? key->name : key->tenant;
  std::vector<store::UsageSum> sums;
  const Scope scope = key->scope == 'k' ? Scope::System() : Scope::Tenant(tenant);
  WEFT_RETURN_IF_ERROR(database_->Read(scope, [&](store::Session& session) -> absl::Status {
    WEFT_ASSIGN_OR_RETURN(sums, store::SumUsage(session, filter));
    return absl::OkStatus();
  }));
  int64_t used = 0;
  for (const store::UsageSum& sum : sums) {
    used += key->money ? sum.cost_micros : sum.prompt_tokens + sum.completion_tokens;
  }
  return static_cast<uint64_t>(std::max<int64_t>(0, used));
}

}  // namespace weft::gateway
