#include "services/gateway/quota_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "libs/store/usage_store.h"

namespace weft::gateway {
namespace {

using limits::Charge;
using Metric = QuotaKey::Metric;

constexpr std::string_view kKindNames[] = {"tenant", "project", "user", "key", "model"};
constexpr char kKindLetters[] = {'t', 'p', 'u', 'k', 'n'};
constexpr std::string_view kMetricNames[] = {"requests", "tokens", "cost_micros"};
constexpr std::string_view kMetricPolicies[] = {"requests", "tokens", "cost"};
constexpr std::string_view kMetricKeys[] = {"req", "tok", "cost"};
constexpr std::string_view kPeriods[] = {"day", "month"};

template <size_t N>
std::optional<size_t> IndexOf(const std::string_view (&names)[N], std::string_view name) {
  const auto* found = std::find(std::begin(names), std::end(names), name);
  if (found == std::end(names)) return std::nullopt;
  return static_cast<size_t>(found - std::begin(names));
}

}  // namespace

Period MonthOf(WallTime now) {
  using namespace std::chrono;
  const year_month_day date(floor<days>(now));
  const sys_days next = (date.year() / date.month() + months(1)) / 1;
  return {fmt::format("{:04}-{:02}", static_cast<int>(date.year()),
                      static_cast<unsigned>(date.month())),
          duration_cast<milliseconds>(next - now)};
}

Period DayOf(WallTime now) {
  using namespace std::chrono;
  const sys_days next = floor<days>(now) + days(1);
  return {store::UsageDay(UnixNanos(now) / 1000), duration_cast<milliseconds>(next - now)};
}

std::string Format(const QuotaKey& key) {
  const std::string_view metric = kMetricKeys[static_cast<size_t>(key.metric)];
  switch (key.kind) {
    case 't':
      return fmt::format("t:{}:{}:{}", key.tenant, metric, key.period);
    case 'k':  // a key's id says whose it is
      return fmt::format("k:{}:{}:{}", key.name, metric, key.period);
    default:  // a tenant's name has no colon
      return fmt::format("{}:{}:{}:{}:{}", key.kind, key.tenant, key.name, metric, key.period);
  }
}

bool Parse(std::string_view text, QuotaKey& key) {
  if (text.size() < 2 || text[1] != ':') return false;
  key = QuotaKey();
  key.kind = text[0];
  std::string_view rest = text.substr(2);
  const auto take_last = [&rest] {
    const size_t colon = rest.rfind(':');
    if (colon == std::string_view::npos) return std::string_view();
    const std::string_view last = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    return last;
  };
  key.period = take_last();
  const auto metric = IndexOf(kMetricKeys, take_last());
  if (!metric || (key.period.size() != 7 && key.period.size() != 10)) return false;
  key.metric = static_cast<Metric>(*metric);
  switch (key.kind) {
    case 't':
      key.tenant = rest;
      return true;
    case 'k':
      key.name = rest;
      return true;
    case 'p':
    case 'u':
    case 'n': {
      const size_t colon = rest.find(':');
      if (colon == std::string_view::npos) return false;
      key.tenant = rest.substr(0, colon);
      key.name = rest.substr(colon + 1);
      return true;
    }
    default:
      return false;
  }
}

QuotaBook::QuotaBook(const std::vector<store::QuotaRecord>& records) {
  for (const store::QuotaRecord& record : records) {
    const auto kind = IndexOf(kKindNames, record.subject_kind);
    const auto metric = IndexOf(kMetricNames, record.metric);
    const auto period = IndexOf(kPeriods, record.period);
    if (!kind || !metric || !period) continue;  // of a newer program
    std::string subject = record.subject_id;
    // A tenant's quota is its own, whether it is named or not; another's name is nobody.
    if (*kind == 0 && subject == record.tenant) subject.clear();
    Sheets& sheets = tenants_[record.tenant].kinds[*kind];
    sheets[subject][*metric * 2 + *period] = {record.soft_limit, record.hard_limit};
  }
}

void QuotaBook::AddCharges(const QuotaUse& use, WallTime now, std::vector<Charge>& charges) const {
  const auto tenant = tenants_.find(use.tenant);
  if (tenant == tenants_.end()) return;
  const std::string_view subjects[kKinds] = {"", use.project, use.user, use.key_id, use.model};
  const uint64_t costs[] = {1, use.tokens, use.cost_micros};
  std::optional<Period> periods[2];
  for (size_t kind = 0; kind < kKinds; ++kind) {
    const Sheets& sheets = tenant->second.kinds[kind];
    if (sheets.empty() || (kind > 0 && subjects[kind].empty())) continue;
    const auto own = sheets.find(subjects[kind]);
    const auto each = sheets.find("");
    for (size_t sort = 0; sort < kSorts; ++sort) {
      const auto given = [&](Sheets::const_iterator it) {
        return it != sheets.end() && (it->second[sort].hard > 0 || it->second[sort].soft > 0);
      };
      if (!given(own) && !given(each)) continue;
      const Quota& quota = given(own) ? own->second[sort] : each->second[sort];
      const size_t metric = sort / 2, period = sort % 2;
      if (!periods[period]) periods[period] = period == 0 ? DayOf(now) : MonthOf(now);
      Charge charge;
      charge.kind = limits::Kind::kQuota;
      charge.key = Format({.kind = kKindLetters[kind],
                           .tenant = std::string(use.tenant),
                           .name = std::string(subjects[kind]),
                           .metric = static_cast<Metric>(metric),
                           .period = periods[period]->name});
      charge.policy =
          fmt::format("{}-{}-{}", kKindNames[kind], kMetricPolicies[metric], kPeriods[period]);
      charge.limit = quota.hard > 0 ? static_cast<uint64_t>(quota.hard) : kNoHardLimit;
      charge.warn_at = static_cast<uint64_t>(quota.soft);
      charge.window = periods[period]->left;
      charge.cost = costs[metric];
      const auto same = std::find_if(charges.begin(), charges.end(),
                                     [&](const Charge& c) { return c.key == charge.key; });
      if (same == charges.end()) {
        charges.push_back(std::move(charge));
      } else {
        same->limit = std::min(same->limit, charge.limit);
        if (charge.warn_at > 0) same->warn_at = charge.warn_at;
      }
    }
  }
}

}  // namespace weft::gateway
