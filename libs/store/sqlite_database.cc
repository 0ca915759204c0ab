#include "libs/store/sqlite_database.h"

#include <condition_variable>
#include <mutex>
#include <vector>

#include "libs/base/status.h"
#include "libs/store/sqlite.h"

namespace weft::store {
namespace {

class SqliteSession final : public Session {
 public:
  SqliteSession(const Scope& scope, SqliteConnection& connection)
      : Session(scope), connection_(connection) {}
  Dialect dialect() const override { return Dialect::kSqlite; }

 private:
  absl::StatusOr<Result> RunChecked(std::string_view sql, const Values& parameters) override {
    return connection_.Run(sql, parameters);
  }
  SqliteConnection& connection_;
};

absl::Status InTransaction(SqliteConnection& connection, const char* begin,
                           const std::function<absl::Status()>& body) {
  WEFT_RETURN_IF_ERROR(connection.Execute(begin));
  absl::Status status = body();
  if (status.ok()) status = connection.Execute("COMMIT");
  if (!status.ok()) connection.Execute("ROLLBACK").IgnoreError();
  return status;
}

class SqliteDatabase final : public Database {
 public:
  SqliteDatabase(std::unique_ptr<SqliteConnection> writer, DatabaseOptions options)
      : name_(writer->path()), options_(options), writer_(std::move(writer)) {}

  absl::Status Write(const Scope& scope, const Body& body) override {
    std::lock_guard lock(writer_mutex_);
    return InTransaction(*writer_, "BEGIN IMMEDIATE", [&] {
      SqliteSession session(scope, *writer_);
      return body(session);
    });
  }

  absl::Status Read(const Scope& scope, const Body& body) override {
    WEFT_ASSIGN_OR_RETURN(auto reader, Borrow());
    absl::Status status = InTransaction(*reader, "BEGIN", [&] {
      SqliteSession session(scope, *reader);
      return body(session);
    });
    Return(std::move(reader));
    return status;
  }

  absl::Status Migrate(std::span<const Migration> migrations) override {
    std::lock_guard lock(writer_mutex_);
    bool done = false;
    while (!done) {
      // The version is read inside the transaction: two processes may start at once.
      WEFT_RETURN_IF_ERROR(InTransaction(*writer_, "BEGIN IMMEDIATE", [&]() -> absl::Status {
        WEFT_ASSIGN_OR_RETURN(const Result read, writer_->Run("PRAGMA user_version"));
        const int64_t version = read.rows.at(0).Int(0);
        const auto known = static_cast<int64_t>(migrations.size());
        if (version < 0 || version > known) {
          return FailedPrecondition(
              "database {} has schema version {}, this program knows {}: use a newer program",
              name_, version, known);
        }
        done = version == known;
        if (done) return absl::OkStatus();
        WEFT_RETURN_IF_ERROR(
            writer_->Execute(std::string(migrations[static_cast<size_t>(version)].sqlite)));
        return writer_->Execute(fmt::format("PRAGMA user_version = {}", version + 1));
      }));
    }
    return absl::OkStatus();
  }

  Dialect dialect() const override { return Dialect::kSqlite; }
  const std::string& name() const override { return name_; }

 private:
  absl::StatusOr<std::unique_ptr<SqliteConnection>> Borrow() {
    {
      std::unique_lock lock(readers_mutex_);
      if (!returned_.wait_for(lock, options_.wait, [&] {
            return !readers_.empty() || borrowed_ < options_.connections;
          })) {
        return Unavailable("database {}: no connection became free", name_);
      }
      ++borrowed_;
      if (!readers_.empty()) {
        auto reader = std::move(readers_.back());
        readers_.pop_back();
        return absl::StatusOr<std::unique_ptr<SqliteConnection>>(std::move(reader));
      }
    }
    auto made = SqliteConnection::OpenReader(name_, options_.wait);
    if (!made.ok()) Return(nullptr);
    return made;
  }
  void Return(std::unique_ptr<SqliteConnection> reader) {
    {
      std::lock_guard lock(readers_mutex_);
      --borrowed_;
      if (reader) readers_.push_back(std::move(reader));
    }
    returned_.notify_one();
  }

  const std::string name_;
  const DatabaseOptions options_;
  std::mutex writer_mutex_;
  const std::unique_ptr<SqliteConnection> writer_;
  std::mutex readers_mutex_;
  std::condition_variable returned_;
  std::vector<std::unique_ptr<SqliteConnection>> readers_;  // that nobody uses
  size_t borrowed_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> OpenSqlite(const std::string& path,
                                                     const DatabaseOptions& options) {
  WEFT_ASSIGN_OR_RETURN(auto writer, SqliteConnection::Open(path, options.wait));
  return std::unique_ptr<Database>(std::make_unique<SqliteDatabase>(std::move(writer), options));
}

}  // namespace weft::store
