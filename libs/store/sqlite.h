// A thin, checked layer over SQLite: the only place that knows its C API.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "libs/store/value.h"

struct sqlite3;
struct sqlite3_stmt;

namespace weft::store {

// A connection. Not thread safe.
class SqliteConnection {
 public:
  // Opens or makes the file (mode 0600), in WAL mode, synced at every commit. Errors name the path:
  // DATA_LOSS for a damaged file or one that is no database, FAILED_PRECONDITION for one that
  // cannot be written, UNAVAILABLE for the rest.
  static absl::StatusOr<std::unique_ptr<SqliteConnection>> Open(
      const std::string& path, std::chrono::milliseconds busy = std::chrono::seconds(5));
  // A further connection to a file that Open has seen; it can only read.
  static absl::StatusOr<std::unique_ptr<SqliteConnection>> OpenReader(
      const std::string& path, std::chrono::milliseconds busy = std::chrono::seconds(5));
  ~SqliteConnection();
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  // One statement with its parameters $1, $2 …; it stays prepared for the next time.
  absl::StatusOr<Result> Run(std::string_view sql, const Values& parameters = {});
  // Any number of statements, without parameters and answers.
  absl::Status Execute(const std::string& sql);

  const std::string& path() const { return path_; }

 private:
  SqliteConnection(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}
  static absl::StatusOr<std::unique_ptr<SqliteConnection>> Connect(const std::string& path,
                                                                   std::chrono::milliseconds busy);
  struct Prepared {
    sqlite3_stmt* statement = nullptr;
    std::vector<int> places;  // SQLite's number of $1, $2 …; 0: it does not occur
  };
  absl::StatusOr<const Prepared*> Prepare(std::string_view sql, size_t parameters);

  sqlite3* db_;
  const std::string path_;
  std::unordered_map<std::string, Prepared> prepared_;
};

}  // namespace weft::store
