#include "libs/store/sqlite.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "libs/base/status.h"

namespace weft::store {
namespace {

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
      return AlreadyExists("database {}: {}", path, text);
    default:
      return Unavailable("database {}: {}", path, text);
  }
}

}  // namespace

Statement::Statement(sqlite3* db, sqlite3_stmt* statement, const std::string& path)
    : db_(db), statement_(statement), path_(path) {}

Statement::Statement(Statement&& other) noexcept
    : db_(other.db_),
      statement_(std::exchange(other.statement_, nullptr)),
      path_(other.path_),
      bind_error_(other.bind_error_) {}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement& Statement::Bind(int parameter, int64_t value) {
  if (const int code = sqlite3_bind_int64(statement_, parameter, value)) bind_error_ = code;
  return *this;
}

Statement& Statement::Bind(int parameter, std::string_view text) {
  if (const int code = sqlite3_bind_text64(statement_, parameter, text.data(), text.size(),
                                           SQLITE_TRANSIENT, SQLITE_UTF8)) {
    bind_error_ = code;
  }
  return *this;
}

Statement& Statement::BindBlob(int parameter, std::span<const uint8_t> bytes) {
  if (const int code = sqlite3_bind_blob64(statement_, parameter, bytes.data(), bytes.size(),
                                           SQLITE_TRANSIENT)) {
    bind_error_ = code;
  }
  return *this;
}

absl::StatusOr<bool> Statement::Step() {
  if (bind_error_ != 0) return FromSqlite(bind_error_, db_, path_);
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return FromSqlite(code, db_, path_);
}

absl::Status Statement::Run() {
  const auto row = Step();
  return row.ok() ? absl::OkStatus() : row.status();
}

int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Statement::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return text == nullptr
             ? std::string()
             : std::string(text, static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}

std::string Statement::Blob(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  return bytes == nullptr
             ? std::string()
             : std::string(bytes, static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path) {
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

  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &handle,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, nullptr);
  std::unique_ptr<Database> db(new Database(handle, path));
  if (code != SQLITE_OK) return FromSqlite(code, handle, path);
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, 5000);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  if (sqlite3_db_readonly(handle, "main") == 1) {
    return FailedPrecondition("database {} cannot be written (the file is read-only)", path);
  }
  WEFT_RETURN_IF_ERROR(db->Execute("PRAGMA journal_mode = WAL"));
  WEFT_RETURN_IF_ERROR(db->Execute("PRAGMA synchronous = FULL"));
  WEFT_RETURN_IF_ERROR(db->Execute("PRAGMA foreign_keys = ON"));
  WEFT_RETURN_IF_ERROR(db->Execute("PRAGMA trusted_schema = OFF"));
  WEFT_ASSIGN_OR_RETURN(Statement check, db->Prepare("PRAGMA quick_check(1)"));
  WEFT_ASSIGN_OR_RETURN(const bool row, check.Step());
  if (row && check.Text(0) != "ok") {
    return DataLoss("database {} is damaged ({}); restore it from a backup or move it away", path,
                    check.Text(0));
  }
  return absl::StatusOr<std::unique_ptr<Database>>(std::move(db));
}

Database::~Database() { sqlite3_close_v2(db_); }

absl::StatusOr<Statement> Database::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code =
      sqlite3_prepare_v2(db_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (code != SQLITE_OK) return FromSqlite(code, db_, path_);
  return Statement(db_, statement, path_);
}

absl::Status Database::Execute(const std::string& sql) {
  const int code = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : FromSqlite(code, db_, path_);
}

absl::Status Database::Transaction(const std::function<absl::Status()>& body) {
  WEFT_RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE"));
  absl::Status status = body();
  if (status.ok()) status = Execute("COMMIT");
  if (!status.ok()) Execute("ROLLBACK").IgnoreError();
  return status;
}

absl::StatusOr<int64_t> Database::DataVersion() {
  WEFT_ASSIGN_OR_RETURN(Statement statement, Prepare("PRAGMA data_version"));
  WEFT_RETURN_IF_ERROR(statement.Step().status());
  return statement.Int(0);
}

absl::Status Database::Migrate(std::span<const std::string_view> migrations) {
  while (true) {
    bool done = false;
    // The version is read inside the transaction: two processes may start at once.
    WEFT_RETURN_IF_ERROR(Transaction([&]() -> absl::Status {
      int64_t version = 0;
      {
        WEFT_ASSIGN_OR_RETURN(Statement statement, Prepare("PRAGMA user_version"));
        WEFT_RETURN_IF_ERROR(statement.Step().status());
        version = statement.Int(0);
      }
      if (version < 0 || version > static_cast<int64_t>(migrations.size())) {
        return FailedPrecondition(
            "database {} has schema version {}, this program knows {}: use a newer program", path_,
            version, migrations.size());
      }
      if (version == static_cast<int64_t>(migrations.size())) {
        done = true;
        return absl::OkStatus();
      }
      WEFT_RETURN_IF_ERROR(Execute(std::string(migrations[static_cast<size_t>(version)])));
      return Execute(fmt::format("PRAGMA user_version = {}", version + 1));
    }));
    if (done) return absl::OkStatus();
  }
}

}  // namespace weft::store
