#include "libs/store/postgres_database.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "libs/base/status.h"
#include "libs/store/postgres_connection.h"

namespace weft::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Connection = std::unique_ptr<PostgresConnection>;

constexpr int kAttempts = 4;
constexpr milliseconds kFirstBackOff{50};

class PostgresSession final : public Session {
 public:
  PostgresSession(const Scope& scope, PostgresConnection& connection, milliseconds limit)
      : Session(scope), connection_(connection), limit_(limit) {}
  Dialect dialect() const override { return Dialect::kPostgres; }

 private:
  absl::StatusOr<Result> RunChecked(std::string_view sql, const Values& parameters) override {
    return connection_.Run(sql, parameters, limit_);
  }
  PostgresConnection& connection_;
  const milliseconds limit_;
};

class PostgresDatabase final : public Database {
 public:
  PostgresDatabase(PostgresTarget target, DatabaseOptions options)
      : target_(std::move(target)), options_(options) {}

  absl::Status Write(const Scope& scope, const Body& body) override {
    return Transact("BEGIN READ WRITE", scope, body);
  }
  absl::Status Read(const Scope& scope, const Body& body) override {
    return Transact("BEGIN READ ONLY", scope, body);
  }

  absl::Status Migrate(std::span<const Migration> migrations) override {
    bool done = false;
    while (!done) {
      WEFT_RETURN_IF_ERROR(
          WithConnection([&](PostgresConnection& c) { return MigrateOne(c, migrations, done); }));
    }
    return absl::OkStatus();
  }

  // The role must be one that row-level security binds.
  absl::Status CheckRole() {
    return WithConnection([&](PostgresConnection& c) -> absl::Status {
      WEFT_ASSIGN_OR_RETURN(
          const Result row,
          c.Run("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user", {},
                options_.statement));
      if (row.rows.empty() || row.rows[0].Int(0) == 0) return absl::OkStatus();
      return FailedPrecondition(
          "database {}: its role is a superuser or has BYPASSRLS, so that row-level security would "
          "not hold tenants apart; use an ordinary role that owns the database",
          target_.name);
    });
  }

  Dialect dialect() const override { return Dialect::kPostgres; }
  const std::string& name() const override { return target_.name; }

 private:
  struct Outcome {
    absl::Status status;
    bool again = false;  // nothing was committed, and another try may succeed
  };

  absl::Status Transact(const char* begin, const Scope& scope, const Body& body) {
    return WithRetries([&](PostgresConnection& c) -> Outcome {
      // A connection that was idle while the server went away fails here: another one is tried.
      if (absl::Status s = c.Execute(begin, options_.statement); !s.ok()) {
        return {s, absl::IsUnavailable(s)};
      }
      // Transaction-local: nothing of it is left for whom a pooler gives the connection next.
      const auto set = c.Run(
          "SELECT set_config('weft.tenant', $1, true), set_config('weft.scope', $2, true), "
          "set_config('statement_timeout', $3, true)",
          {scope.tenant(), scope.system() ? "system" : "tenant",
           std::to_string(options_.statement.count())},
          options_.statement);
      if (!set.ok()) return {set.status(), absl::IsUnavailable(set.status())};
      absl::Status status;
      {
        PostgresSession session(scope, c, options_.statement);
        status = body(session);
      }
      if (!status.ok()) {
        const bool again = status.code() == absl::StatusCode::kAborted || !c.usable();
        if (c.usable()) c.Execute("ROLLBACK", options_.statement).IgnoreError();
        return {std::move(status), again};
      }
      if (c.failed()) {  // a body that ignores an error: COMMIT would answer ROLLBACK, as if well
        c.Execute("ROLLBACK", options_.statement).IgnoreError();
        return {Internal("database {}: a transaction went on after an error", target_.name), false};
      }
      const auto committed = c.Run("COMMIT", {}, options_.statement);
      if (committed.ok()) return {absl::OkStatus(), false};
      if (committed.status().code() == absl::StatusCode::kAborted) {
        return {committed.status(), true};
      }
      if (!c.usable()) {
        return {Unavailable("database {}: the connection was lost in a commit, which may have been "
                            "committed",
                            target_.name),
                false};
      }
      return {committed.status(), false};
    });
  }

  absl::Status WithConnection(const std::function<absl::Status(PostgresConnection&)>& work) {
    return WithRetries([&](PostgresConnection& c) -> Outcome {
      absl::Status status = work(c);
      if (c.usable() && !c.idle()) c.Execute("ROLLBACK", options_.statement).IgnoreError();
      return {std::move(status), !c.usable()};
    });
  }

  absl::Status WithRetries(const std::function<Outcome(PostgresConnection&)>& work) {
    Outcome outcome;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      WEFT_ASSIGN_OR_RETURN(Connection connection, Borrow());
      outcome = work(*connection);
      const bool lost = !connection->usable();
      Return(std::move(connection));
      if (lost) DropIdle();  // they are as old, or older
      if (!outcome.again) break;
    }
    if (outcome.status.code() == absl::StatusCode::kAborted) {
      return Unavailable("{}", Message(outcome.status));
    }
    return outcome.status;
  }

  absl::Status MigrateOne(PostgresConnection& c, std::span<const Migration> migrations,
                          bool& done) {
    const milliseconds limit = std::max(options_.statement, milliseconds(600'000));
    WEFT_RETURN_IF_ERROR(c.Execute("BEGIN", limit));
    // Until the transaction's end; several processes may start at once.
    WEFT_RETURN_IF_ERROR(c.Execute("SELECT pg_advisory_xact_lock(7740000000000000001)", limit));
    WEFT_RETURN_IF_ERROR(
        c.Execute("CREATE TABLE IF NOT EXISTS weft_schema (version BIGINT NOT NULL)", limit));
    WEFT_ASSIGN_OR_RETURN(const Result read, c.Run("SELECT version FROM weft_schema", {}, limit));
    const int64_t version = read.rows.empty() ? 0 : read.rows[0].Int(0);
    const auto known = static_cast<int64_t>(migrations.size());
    if (version < 0 || version > known) {
      return FailedPrecondition(
          "database {} has schema version {}, this program knows {}: use a newer program",
          target_.name, version, known);
    }
    done = version == known;
    if (!done) {
      // Row-level security binds the owner too: a step that moves rows needs to see all.
      WEFT_RETURN_IF_ERROR(c.Execute("SELECT set_config('weft.scope', 'system', true)", limit));
      WEFT_RETURN_IF_ERROR(
          c.Execute(std::string(migrations[static_cast<size_t>(version)].postgres), limit));
      WEFT_RETURN_IF_ERROR(c.Execute(
          read.rows.empty() ? "INSERT INTO weft_schema VALUES (1)"
                            : fmt::format("UPDATE weft_schema SET version = {}", version + 1),
          limit));
    }
    return c.Execute("COMMIT", limit);
  }

  absl::StatusOr<Connection> Borrow() {
    {
      std::unique_lock lock(mutex_);
      if (!returned_.wait_for(lock, options_.wait,
                              [&] { return !idle_.empty() || borrowed_ < options_.connections; })) {
        return Unavailable("database {}: no connection of the pool became free within {} ms",
                           target_.name, options_.wait.count());
      }
      if (!idle_.empty()) {
        Connection connection = std::move(idle_.back());
        idle_.pop_back();
        ++borrowed_;
        return absl::StatusOr<Connection>(std::move(connection));
      }
      // While the server is away, only one attempt per back-off is made; the others fail at once.
      if (steady_clock::now() < next_attempt_) return away_;
      ++borrowed_;
    }
    auto made = PostgresConnection::Connect(target_, options_.connect);
    if (made.ok()) {
      std::lock_guard lock(mutex_);
      back_off_ = milliseconds(0);
      next_attempt_ = {};
      return made;
    }
    {
      std::lock_guard lock(mutex_);
      --borrowed_;
      back_off_ = std::min(std::max(back_off_ * 2, kFirstBackOff), options_.longest_back_off);
      next_attempt_ = steady_clock::now() + back_off_;
      away_ = made.status();
    }
    returned_.notify_one();
    return made;
  }

  void Return(Connection connection) {
    if (connection && !connection->idle()) connection.reset();
    {
      std::lock_guard lock(mutex_);
      --borrowed_;
      if (connection) idle_.push_back(std::move(connection));
    }
    returned_.notify_one();
  }

  void DropIdle() {
    std::vector<Connection> dropped;
    std::lock_guard lock(mutex_);
    dropped.swap(idle_);
  }

  const PostgresTarget target_;
  const DatabaseOptions options_;
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<Connection> idle_;
  size_t borrowed_ = 0;
  milliseconds back_off_{0};
  steady_clock::time_point next_attempt_{};
  absl::Status away_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> OpenPostgres(const std::string& url,
                                                       const DatabaseOptions& options) {
  auto target = ParsePostgresUrl(url, options.connect, options.statement);
  if (!target.ok()) return target.status();
  auto database = std::make_unique<PostgresDatabase>(*std::move(target), options);
  WEFT_RETURN_IF_ERROR(database->CheckRole());
  return std::unique_ptr<Database>(std::move(database));
}

}  // namespace weft::store
