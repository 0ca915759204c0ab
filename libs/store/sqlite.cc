#include "libs/store/sqlite.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <type_traits>

#include "libs/base/status.h"

namespace weft::store {
namespace {

// A program has a fixed set of statements; only a few are made of parts.
constexpr size_t kMaxPrepared = 512;

absl::Status FromSqlite(int code, sqlite3* db, const std::string& path) {
  const char* text = db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(code);
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return DataLoss("database {} is damaged ({}); restore it from a backup or move it away", path,
                      text);
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return FailedPrecondition("database {} cannot be written ({})", path, text);
    case SQLITE_FULL:
      return ResourceExhausted("database {}: the disk is full", path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Unavailable("database {} is locked by another process", path);
    case SQLITE_CONSTRAINT:
      switch (code) {
        case SQLITE_CONSTRAINT_UNIQUE:
        case SQLITE_CONSTRAINT_PRIMARYKEY:
          return AlreadyExists("database {}: {}", path, text);
        case SQLITE_CONSTRAINT_FOREIGNKEY:
          return FailedPrecondition("database {}: {}", path, text);
        default:
          return Internal("database {}: {}", path, text);
      }
    case SQLITE_ERROR:
      return Internal("database {}: {}", path, text);
    default:
      return Unavailable("database {}: {}", path, text);
  }
}

int BindOne(sqlite3_stmt* statement, int index, const Value& value) {
  return std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, int64_t>) {
          return sqlite3_bind_int64(statement, index, v);
        } else if constexpr (std::is_same_v<T, double>) {
          return sqlite3_bind_double(statement, index, v);
        } else if constexpr (std::is_same_v<T, std::string>) {
          return sqlite3_bind_text64(statement, index, v.data(), v.size(), SQLITE_STATIC,
                                     SQLITE_UTF8);
        } else if constexpr (std::is_same_v<T, Value::Bytes>) {
          // A null pointer would bind NULL.
          return sqlite3_bind_blob64(statement, index, v.bytes.empty() ? "" : v.bytes.data(),
                                     v.bytes.size(), SQLITE_STATIC);
        } else {
          return sqlite3_bind_null(statement, index);
        }
      },
      value.variant());
}

Value ColumnOf(sqlite3_stmt* statement, int column) {
  const auto size = [&] { return static_cast<size_t>(sqlite3_column_bytes(statement, column)); };
  switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER:
      return {static_cast<int64_t>(sqlite3_column_int64(statement, column))};
    case SQLITE_FLOAT:
      return {sqlite3_column_double(statement, column)};
    case SQLITE_TEXT: {
      const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
      return {std::string(text != nullptr ? text : "", text != nullptr ? size() : 0)};
    }
    case SQLITE_BLOB: {
      const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement, column));
      return Value::Blob(bytes != nullptr ? std::string(bytes, size()) : std::string());
    }
    default:
      return {};
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteConnection>> SqliteConnection::Connect(
    const std::string& path, std::chrono::milliseconds busy) {
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<SqliteConnection> db(new SqliteConnection(handle, path));
  if (code != SQLITE_OK) return FromSqlite(code, handle, path);
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, static_cast<int>(busy.count()));
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  if (sqlite3_db_readonly(handle, "main") == 1) {
    return FailedPrecondition("database {} cannot be written (the file is read-only)", path);
  }
  WEFT_RETURN_IF_ERROR(db->Execute("PRAGMA foreign_keys = ON"));
  WEFT_RETURN_IF_ERROR(db->Execute("PRAGMA trusted_schema = OFF"));
  return absl::StatusOr<std::unique_ptr<SqliteConnection>>(std::move(db));
}

absl::StatusOr<std::unique_ptr<SqliteConnection>> SqliteConnection::Open(
    const std::string& path, std::chrono::milliseconds busy) {
  // Made here so that it is never readable by others, not even between creation and a chmod.
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    const int error = errno;
    if (error == EACCES || error == EROFS || error == EPERM) {
      return FailedPrecondition("database {} cannot be written ({})", path, std::strerror(error));
    }
    return Unavailable("database {} cannot be opened ({})", path, std::strerror(error));
  }
  struct stat info {};
  const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  close(fd);
  if (!regular) return FailedPrecondition("database {} is not a regular file", path);

  WEFT_ASSIGN_OR_RETURN(auto db, Connect(path, busy));
  WEFT_RETURN_IF_ERROR(db->Execute("PRAGMA journal_mode = WAL"));
  WEFT_RETURN_IF_ERROR(db->Execute("PRAGMA synchronous = FULL"));
  WEFT_ASSIGN_OR_RETURN(const Result check, db->Run("PRAGMA quick_check(1)"));
  if (!check.rows.empty() && check.rows[0].Text(0) != "ok") {
    return DataLoss("database {} is damaged ({}); restore it from a backup or move it away", path,
                    check.rows[0].Text(0));
  }
  return absl::StatusOr<std::unique_ptr<SqliteConnection>>(std::move(db));
}

absl::StatusOr<std::unique_ptr<SqliteConnection>> SqliteConnection::OpenReader(
    const std::string& path, std::chrono::milliseconds busy) {
  WEFT_ASSIGN_OR_RETURN(auto db, Connect(path, busy));
  WEFT_RETURN_IF_ERROR(db->Execute("PRAGMA query_only = ON"));
  return absl::StatusOr<std::unique_ptr<SqliteConnection>>(std::move(db));
}

SqliteConnection::~SqliteConnection() {
  for (const auto& [sql, one] : prepared_) sqlite3_finalize(one.statement);
  sqlite3_close_v2(db_);
}

absl::StatusOr<const SqliteConnection::Prepared*> SqliteConnection::Prepare(std::string_view sql,
                                                                            size_t parameters) {
  std::string key(sql);
  const auto it = prepared_.find(key);
  if (it != prepared_.end() && it->second.places.size() >= parameters) return &it->second;
  if (it == prepared_.end() && prepared_.size() >= kMaxPrepared) {
    for (const auto& [text, one] : prepared_) sqlite3_finalize(one.statement);
    prepared_.clear();
  }
  sqlite3_stmt* statement = nullptr;
  const char* rest = nullptr;
  const int code = sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement, &rest);
  if (code != SQLITE_OK) return FromSqlite(code, db_, path_);
  if (statement == nullptr) return InvalidArgument("database {}: an empty statement", path_);
  Prepared& one = prepared_[std::move(key)];
  sqlite3_finalize(one.statement);  // nullptr, but for one that had fewer parameters
  one.statement = statement;
  // SQLite numbers $1 and $2 by where they first stand, so they are found by name: once, as it
  // compares them with all names.
  one.places.clear();
  for (size_t i = 0; i < parameters; ++i) {
    one.places.push_back(
        sqlite3_bind_parameter_index(statement, fmt::format("${}", i + 1).c_str()));
  }
  return &one;
}

absl::StatusOr<Result> SqliteConnection::Run(std::string_view sql, const Values& parameters) {
  WEFT_ASSIGN_OR_RETURN(const Prepared* const prepared, Prepare(sql, parameters.size()));
  sqlite3_stmt* const statement = prepared->statement;
  struct Reset {
    sqlite3_stmt* statement;
    ~Reset() {
      sqlite3_reset(statement);
      sqlite3_clear_bindings(statement);
    }
  } const reset{statement};
  for (size_t i = 0; i < parameters.size(); ++i) {
    const int index = prepared->places[i];
    if (index == 0) continue;
    if (const int code = BindOne(statement, index, parameters[i]); code != SQLITE_OK) {
      return FromSqlite(code, db_, path_);
    }
  }
  Result result;
  const int columns = sqlite3_column_count(statement);
  const int64_t before = sqlite3_total_changes64(db_);
  while (true) {  // to its end: a statement that is dropped earlier is not committed
    const int code = sqlite3_step(statement);
    if (code == SQLITE_DONE) break;
    if (code != SQLITE_ROW) return FromSqlite(code, db_, path_);
    Values row;
    row.reserve(static_cast<size_t>(columns));
    for (int column = 0; column < columns; ++column) row.push_back(ColumnOf(statement, column));
    result.rows.emplace_back(std::move(row));
  }
  if (sqlite3_total_changes64(db_) != before) result.changed = sqlite3_changes64(db_);
  return result;
}

absl::Status SqliteConnection::Execute(const std::string& sql) {
  const int code = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : FromSqlite(code, db_, path_);
}

}  // namespace weft::store
