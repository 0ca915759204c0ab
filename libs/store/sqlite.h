// A thin, checked layer over SQLite: the only place that knows its C API.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace weft::store {

// One prepared statement, reset and unbound when it is dropped. Not thread safe; its Database must
// be locked by the caller while it lives.
class Statement {
 public:
  ~Statement();
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;

  // Parameters count from 1, columns from 0.
  Statement& Bind(int parameter, int64_t value);
  Statement& Bind(int parameter, std::string_view text);
  Statement& BindBlob(int parameter, std::span<const uint8_t> bytes);

  // True: a row is there. False: done.
  absl::StatusOr<bool> Step();
  // For statements without rows.
  absl::Status Run();

  int64_t Int(int column) const;
  std::string Text(int column) const;
  std::string Blob(int column) const;

 private:
  friend class Database;
  Statement(sqlite3* db, sqlite3_stmt* statement, const std::string& path);
  sqlite3* db_;
  sqlite3_stmt* statement_;
  const std::string& path_;
  int bind_error_ = 0;
};

// A connection. Not thread safe.
class Database {
 public:
  // Opens or makes the file (mode 0600), in WAL mode, synced at every commit. Errors name the path:
  // DATA_LOSS for a damaged file or one that is no database, FAILED_PRECONDITION for one that
  // cannot be written, UNAVAILABLE for the rest.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path);
  ~Database();

  absl::StatusOr<Statement> Prepare(std::string_view sql);
  absl::Status Execute(const std::string& sql);
  // Runs `body` between BEGIN IMMEDIATE and COMMIT; rolls back on an error.
  absl::Status Transaction(const std::function<absl::Status()>& body);

  // Changes when another connection, also of another process, has committed.
  absl::StatusOr<int64_t> DataVersion();
  const std::string& path() const { return path_; }

  // Brings the schema from version `PRAGMA user_version` to migrations.size(), each step in its own
  // transaction. FAILED_PRECONDITION when the file is of a newer version.
  absl::Status Migrate(std::span<const std::string_view> migrations);

 private:
  Database(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}
  sqlite3* db_;
  const std::string path_;
};

}  // namespace weft::store
