// Which quotas of the database a request is held against.
#include "services/gateway/quota_book.h"

#include <map>

#include "tests/support/catch.h"

using weft::gateway::kNoHardLimit;
using weft::gateway::Parse;
using weft::gateway::QuotaBook;
using weft::gateway::QuotaKey;
using weft::gateway::QuotaUse;
using weft::limits::Charge;

namespace {

// 2026-11-21 22:00:00 UTC
const weft::WallTime kNow{std::chrono::seconds(1'795'298'400)};

std::map<std::string, Charge> Charges(const QuotaBook& book, const QuotaUse& use,
                                      std::vector<Charge> before = {}) {
  book.AddCharges(use, kNow, before);
  std::map<std::string, Charge> out;
  for (const Charge& charge : before) out.emplace(charge.key, charge);
  CHECK(out.size() == before.size());
  return out;
}

const QuotaUse kUse = {.tenant = "acme",
                       .project = "web",
                       .user = "ann:1",
                       .key_id = "k1",
                       .model = "org/m:q4",
                       .tokens = 100,
                       .cost_micros = 7};

}  // namespace

TEST_CASE("A request is held against the quotas of all that it belongs to", "[gateway]") {
  const QuotaBook book({{"acme", "tenant", "", "tokens", "month", 0, 1000},
                        {"acme", "project", "web", "requests", "day", 0, 10},
                        {"acme", "project", "shop", "requests", "day", 0, 11},
                        {"acme", "user", "", "cost_micros", "day", 0, 12},
                        {"acme", "key", "k1", "tokens", "day", 3, 13},
                        {"acme", "model", "org/m:q4", "tokens", "month", 0, 14},
                        {"other", "tenant", "", "tokens", "month", 0, 1}});
  const auto charges = Charges(book, kUse);
  REQUIRE(charges.size() == 5);
  const Charge& tenant = charges.at("t:acme:tok:2026-11");
  CHECK(tenant.policy == "tenant-tokens-month");
  CHECK(tenant.limit == 1000);
  CHECK(tenant.cost == 100);
  CHECK(tenant.window == std::chrono::hours(9 * 24 + 2));
  const Charge& project = charges.at("p:acme:web:req:2026-11-21");
  CHECK(project.policy == "project-requests-day");
  CHECK(project.cost == 1);
  CHECK(project.window == std::chrono::hours(2));
  CHECK(charges.at("u:acme:ann:1:cost:2026-11-21").cost == 7);
  CHECK(charges.at("k:k1:tok:2026-11-21").warn_at == 3);
  CHECK(charges.at("n:acme:org/m:q4:tok:2026-11").limit == 14);
  QuotaUse other;
  other.tenant = "nobody";
  CHECK(Charges(book, other).empty());
  other.tenant = "acme";
  CHECK(Charges(book, other).size() == 1);  // no project, no user
  for (const auto& [text, charge] : charges) {
    QuotaKey key;
    REQUIRE(Parse(text, key));
    CHECK(Format(key) == text);
  }
}

TEST_CASE("A quota of the very one counts instead of the one for each", "[gateway]") {
  const QuotaBook book({{"acme", "user", "", "tokens", "day", 0, 10},
                        {"acme", "user", "", "requests", "day", 0, 20},
                        {"acme", "user", "ann:1", "tokens", "day", 0, 30},
                        {"acme", "tenant", "acme", "tokens", "day", 5, 0},
                        {"acme", "tenant", "another", "requests", "day", 0, 1},
                        {"acme", "planet", "", "tokens", "day", 0, 1}});
  const auto charges = Charges(book, kUse);
  REQUIRE(charges.size() == 3);
  CHECK(charges.at("u:acme:ann:1:tok:2026-11-21").limit == 30);
  CHECK(charges.at("u:acme:ann:1:req:2026-11-21").limit == 20);
  CHECK(charges.at("t:acme:tok:2026-11-21").limit == kNoHardLimit);
  CHECK(charges.at("t:acme:tok:2026-11-21").warn_at == 5);
}

TEST_CASE("Of the configuration's quota and the database's the smaller holds", "[gateway]") {
  const QuotaBook book({{"acme", "tenant", "", "tokens", "month", 0, 1000}});
  for (const uint64_t configured : {500, 5000}) {
    const auto charges = Charges(book, kUse,
                                 {{.key = "t:acme:tok:2026-11",
                                   .policy = "tenant-tokens-month",
                                   .kind = weft::limits::Kind::kQuota,
                                   .limit = configured}});
    REQUIRE(charges.size() == 1);
    CHECK(charges.begin()->second.limit == std::min<uint64_t>(configured, 1000));
  }
}

TEST_CASE("Texts that are no quota's key are none", "[gateway]") {
  QuotaKey key;
  for (const char* text : {"", "t", "t:acme", "t:acme:tok:", "t:acme:tok:2026",
                           "t:acme:xyz:2026-11", "u:acme:tok:2026-11", "x:acme:tok:2026-11", "g"}) {
    CAPTURE(text);
    CHECK_FALSE(Parse(text, key));
  }
}
