// Turns of several gateways, and the quotas that they read.
#include "libs/store/upkeep.h"

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "libs/base/status.h"
#include "libs/store/changes.h"
#include "libs/store/quota_store.h"
#include "libs/store/resource.h"
#include "tests/unit/store/store_backends.h"

using weft::WallTime;
using weft::store::ReadQuotas;
using weft::store::TakeTurn;
using weft::test::StoreBackend;
using namespace std::chrono_literals;

TEST_CASE("One of many takes each turn", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = backend.OpenMigrated();
  const WallTime begin{1'000'000s};
  for (int round = 0; round < 3; ++round) {
    std::atomic<int> taken{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        const auto turn = TakeTurn(*db, "sweep", begin + round * 60s, 60s);
        if (turn.ok() && *turn) ++taken;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(taken == 1);
  }
  CHECK_FALSE(TakeTurn(*db, "sweep", begin + 179s, 60s).value());
  CHECK(TakeTurn(*db, "another", begin + 179s, 60s).value());
  CHECK(TakeTurn(*db, "sweep", begin + 180s, 60s).value());
}

TEST_CASE("A change of quotas moves their number, and all tenants' are read", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = backend.OpenMigrated();
  const auto number = [&] {
    return weft::store::ChangeNumber(*db, weft::store::Topic::kQuotas).value();
  };
  const int64_t before = number();
  for (const char* tenant : {"red", "blue"}) {
    REQUIRE(db->Write(weft::store::Scope::Tenant(tenant),
                      [&](weft::store::Session& session) -> absl::Status {
                        using weft::store::FindResourceType;
                        WEFT_RETURN_IF_ERROR(CreateResource(session, *FindResourceType("tenants"),
                                                            tenant, {{"id", tenant}}, {}, 1)
                                                 .status());
                        for (const int hard : {0, 9}) {
                          WEFT_RETURN_IF_ERROR(
                              CreateResource(session, *FindResourceType("quotas"), tenant,
                                             {{"subject_kind", "user"},
                                              {"subject_id", "u" + std::to_string(hard)},
                                              {"metric", "tokens"},
                                              {"period", "day"},
                                              {"hard_limit", hard}},
                                             {}, 1)
                                  .status());
                        }
                        return absl::OkStatus();
                      })
                .ok());
  }
  CHECK(number() == before + 4);
  const auto quotas = ReadQuotas(*db).value();
  REQUIRE(quotas.size() == 2);  // without those that limit nothing
  CHECK(quotas[0].tenant != quotas[1].tenant);
  CHECK(quotas[0].subject_id == "u9");
  CHECK(quotas[0].hard_limit == 9);
}
