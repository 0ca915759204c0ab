// The databases that every test of the store runs on.
#pragma once

#include <memory>
#include <string>

#include "libs/store/database.h"
#include "libs/store/schema.h"
#include "tests/support/catch.h"
#include "tests/support/postgres_server.h"
#include "tests/support/temp_dir.h"

namespace weft::test {

enum class Backend { kSqlite, kPostgres, kPgBouncer };

// A database of its own for a test case, empty.
class StoreBackend {
 public:
  explicit StoreBackend(Backend backend) {
    if (backend == Backend::kSqlite) {
      where = dir.File("store.db");
      return;
    }
    where = SharedPostgres().NewDatabase();
    direct = where;
    if (backend == Backend::kPgBouncer) where = SharedPostgres().ThroughPgBouncer(where);
  }

  std::shared_ptr<store::Database> Open(store::DatabaseOptions options = {}) const {
    auto opened = store::Database::Open(where, options);
    INFO((opened.ok() ? std::string() : std::string(opened.status().message())));
    REQUIRE(opened.ok());
    return std::move(*opened);
  }
  // With the whole schema.
  std::shared_ptr<store::Database> OpenMigrated() const {
    auto database = Open();
    const absl::Status status = database->Migrate(store::Schema());
    INFO(std::string(status.message()));
    REQUIRE(status.ok());
    return database;
  }

  TempDir dir;
  std::string where;   // a path or a URL
  std::string direct;  // the URL of the server itself
};

#define WEFT_ALL_BACKENDS                                                \
  GENERATE(weft::test::Backend::kSqlite, weft::test::Backend::kPostgres, \
           weft::test::Backend::kPgBouncer)

}  // namespace weft::test
