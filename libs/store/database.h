// One SQL interface over SQLite (one machine, no server) and PostgreSQL (several gateways).
//
// SQL is written once, with parameters $1, $2 …, in what both understand: INSERT … ON CONFLICT,
// RETURNING, CASE instead of min/max of two values, integers for booleans and times (Unix, in the
// unit that the column's name or comment says).
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "libs/store/value.h"

namespace weft::store {

// Whose rows a transaction may see. In PostgreSQL row-level security enforces it for every
// statement, also one that forgot its WHERE; in SQLite the statements' own conditions do.
class Scope {
 public:
  static Scope Tenant(std::string_view name) { return Scope(name, false); }
  // Every tenant's: signing in (the tenant is not known yet), operators, upkeep.
  static Scope System() { return Scope({}, true); }

  bool system() const { return system_; }
  const std::string& tenant() const { return tenant_; }  // empty for the system
  // Whether rows of this tenant are in the scope.
  bool Covers(std::string_view tenant) const { return system_ || tenant == tenant_; }

 private:
  Scope(std::string_view tenant, bool system) : tenant_(tenant), system_(system) {}
  std::string tenant_;
  bool system_;
};

enum class Dialect : uint8_t { kSqlite, kPostgres };

// One transaction that is open. Not thread safe; lives only in the body that it was given to.
class Session {
 public:
  virtual ~Session() = default;

  // One statement. Errors name the database, never a parameter's value:
  // ALREADY_EXISTS (a unique key is taken), FAILED_PRECONDITION (a row that is referred to is not
  // there, or is needed), INVALID_ARGUMENT (text that is not UTF-8 or holds NUL), UNAVAILABLE (the
  // database is away or locked), PERMISSION_DENIED (row-level security), DATA_LOSS (damage),
  // RESOURCE_EXHAUSTED (disk full, too many connections).
  absl::StatusOr<Result> Run(std::string_view sql, const Values& parameters = {});

  const Scope& scope() const { return scope_; }
  virtual Dialect dialect() const = 0;

 protected:
  explicit Session(Scope scope) : scope_(std::move(scope)) {}
  virtual absl::StatusOr<Result> RunChecked(std::string_view sql, const Values& parameters) = 0;

 private:
  const Scope scope_;
};

// Runs inside the transaction; what it returns decides between commit and rollback. May be called
// again from the start when the database asks for it (deadlock, a connection that was stale).
using Body = std::function<absl::Status(Session&)>;

// One forward step of the schema. A step that was released is never edited.
struct Migration {
  std::string_view sqlite;
  std::string_view postgres;
};

struct DatabaseOptions {
  size_t connections = 8;                             // of the pool; SQLite: of readers
  std::chrono::milliseconds wait{5'000};              // for a connection of the pool, or a lock
  std::chrono::milliseconds statement{10'000};        // for one statement's answer
  std::chrono::milliseconds connect{5'000};           // for a connection to be made
  std::chrono::milliseconds longest_back_off{5'000};  // between attempts to reach the server
};

// Thread safe. Calls block.
class Database {
 public:
  virtual ~Database() = default;

  // A path is a SQLite file, made with mode 0600 when it is not there; "postgres://…" and
  // "postgresql://…" are PostgreSQL (libpq's URL; sslmode is `require` unless the URL says
  // otherwise or the host is this machine). A server that is away is UNAVAILABLE; a role that row-
  // level security does not bind is FAILED_PRECONDITION.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& where,
                                                        DatabaseOptions options = {});
  static bool IsPostgresUrl(std::string_view where);
  // For logs and errors: a URL without its password.
  static std::string ShownName(std::string_view where);

  // Durable when it returns OK. UNAVAILABLE with the words "may have been committed" where the
  // connection was lost in the commit: callers whose rows carry unique ids write them again.
  virtual absl::Status Write(const Scope& scope, const Body& body) = 0;
  // Nothing may be written.
  virtual absl::Status Read(const Scope& scope, const Body& body) = 0;

  // One statement in a transaction of its own.
  absl::StatusOr<Result> WriteOne(const Scope& scope, std::string_view sql, const Values& values);
  absl::StatusOr<Result> ReadOne(const Scope& scope, std::string_view sql, const Values& values);

  // Brings the schema up to migrations.size(), each step in a transaction of its own; several
  // processes may start at once. FAILED_PRECONDITION for a schema of a newer program.
  virtual absl::Status Migrate(std::span<const Migration> migrations) = 0;

  virtual Dialect dialect() const = 0;
  virtual const std::string& name() const = 0;
};

}  // namespace weft::store
