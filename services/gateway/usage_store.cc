#include "services/gateway/usage_store.h"

#include <algorithm>
#include <string>

#include "libs/base/status.h"
#include "services/gateway/quota_book.h"
#include "services/gateway/stored_audit.h"

namespace weft::gateway {
namespace {

using store::Scope;

int64_t Signed(uint64_t value) { return static_cast<int64_t>(value); }

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

absl::Status DatabaseUsageStore::WriteNotes(std::span<const std::string> notes) {
  return AppendNotes(*database_, notes, audit_key_);
}

absl::StatusOr<uint64_t> DatabaseUsageStore::UsedSoFar(const limits::Charge& charge) {
  QuotaKey key;
  if (!Parse(charge.key, key)) return InvalidArgument("'{}' names no quota", charge.key);
  const bool month = key.period.size() == 7;
  store::UsageFilter filter;
  filter.from_day = month ? key.period + "-01" : key.period;
  filter.until_day = month ? key.period + "-31" : key.period;
  switch (key.kind) {
    case 'p':
      filter.project = key.name;
      break;
    case 'u':
      filter.user_id = key.name;
      break;
    case 'k':
      filter.key_id = key.name;
      break;
    case 'n':
      filter.model = key.name;
      break;
    default:
      break;
  }
  std::vector<store::UsageSum> sums;
  const Scope scope = key.kind == 'k' ? Scope::System() : Scope::Tenant(key.tenant);
  WEFT_RETURN_IF_ERROR(database_->Read(scope, [&](store::Session& session) -> absl::Status {
    WEFT_ASSIGN_OR_RETURN(sums, store::SumUsage(session, filter));
    return absl::OkStatus();
  }));
  int64_t used = 0;
  for (const store::UsageSum& sum : sums) {
    switch (key.metric) {
      case QuotaKey::Metric::kRequests:
        used += sum.requests;
        break;
      case QuotaKey::Metric::kTokens:
        used += sum.prompt_tokens + sum.completion_tokens;
        break;
      case QuotaKey::Metric::kCost:
        used += sum.cost_micros;
        break;
    }
  }
  return static_cast<uint64_t>(std::max<int64_t>(0, used));
}

}  // namespace weft::gateway
