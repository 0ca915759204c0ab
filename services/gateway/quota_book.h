// The quotas that operators and tenants keep in the database, as requests are held against them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/clock.h"
#include "libs/limits/limiter.h"
#include "libs/store/quota_store.h"

namespace weft::gateway {

// The limit of a quota that only warns: more than anybody uses, and exact in a double (Redis'
// scripts).
inline constexpr uint64_t kNoHardLimit = (uint64_t{1} << 53) - 1;

// What one request takes of a quota.
struct QuotaUse {
  std::string_view tenant;
  std::string_view project;
  std::string_view user;
  std::string_view key_id;
  std::string_view model;
  uint64_t tokens = 0;
  uint64_t cost_micros = 0;
};

// "2026-11" or "2026-11-21", and what is left of it.
struct Period {
  std::string name;
  std::chrono::milliseconds left{0};
};
Period MonthOf(WallTime now);
Period DayOf(WallTime now);

// One that does not change; safe to read from any thread.
class QuotaBook {
 public:
  QuotaBook() = default;
  explicit QuotaBook(const std::vector<store::QuotaRecord>& records);

  bool empty() const { return tenants_.empty(); }
  // Adds a charge for each quota of the request's tenant, project, user, key and model. Of one
  // kind, metric and period a quota of that very one counts instead of the one for each. A charge
  // that is there already, of the configuration, stays one: the smaller limit holds.
  void AddCharges(const QuotaUse& use, WallTime now, std::vector<limits::Charge>& charges) const;

 private:
  struct Quota {
    int64_t soft = 0;
    int64_t hard = 0;
  };
  // By metric and period.
  static constexpr size_t kSorts = 6;
  using Sheet = std::array<Quota, kSorts>;
  static constexpr size_t kKinds = 5;
  using Sheets = std::map<std::string, Sheet, std::less<>>;  // by subject; "": each one
  struct Tenant {
    std::array<Sheets, kKinds> kinds;
  };

  std::map<std::string, Tenant, std::less<>> tenants_;
};

// Whose and what the key of a quota's charge counts; the configuration's have the same form.
struct QuotaKey {
  enum class Metric : uint8_t { kRequests, kTokens, kCost };
  char kind = 0;  // t, p, u, k, n (a tenant's model)
  std::string tenant;
  std::string name;  // of a project, user, key or model
  Metric metric = Metric::kTokens;
  std::string period;  // "2026-11", "2026-11-21"
};
std::string Format(const QuotaKey& key);
bool Parse(std::string_view text, QuotaKey& key);

}  // namespace weft::gateway
