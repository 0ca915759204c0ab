// A thin, checked layer over libpq: the only place that knows its C API.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/store/value.h"

struct pg_conn;
struct pg_result;

namespace weft::store {

// How to reach a server: libpq's keywords, from a URL and our defaults.
struct PostgresTarget {
  std::vector<std::pair<std::string, std::string>> keywords;
  std::string name;  // for errors and logs: no password
};

// INVALID_ARGUMENT in libpq's words for a URL that it cannot read.
absl::StatusOr<PostgresTarget> ParsePostgresUrl(const std::string& url,
                                                std::chrono::milliseconds connect,
                                                std::chrono::milliseconds statement);

// A connection. Not thread safe. Keeps no state in the server between statements: every statement
// is parsed, bound and run as the unnamed one (the extended protocol with protocol-level
// parameters), which is what PgBouncer in transaction mode can carry.
class PostgresConnection {
 public:
  static absl::StatusOr<std::unique_ptr<PostgresConnection>> Connect(
      const PostgresTarget& target, std::chrono::milliseconds connect);
  ~PostgresConnection();
  PostgresConnection(const PostgresConnection&) = delete;
  PostgresConnection& operator=(const PostgresConnection&) = delete;

  // One statement. ABORTED: the server asks for the transaction to be tried again (deadlock,
  // serialization). After a time-out the connection is no longer usable.
  absl::StatusOr<Result> Run(std::string_view sql, const Values& parameters,
                             std::chrono::milliseconds limit);
  // Any number of statements, without parameters and answers.
  absl::Status Execute(const std::string& script, std::chrono::milliseconds limit);

  // Whether it may be used again, outside of a transaction.
  bool idle() const;
  bool usable() const;
  // A statement failed: nothing but a rollback is possible.
  bool failed() const;

 private:
  PostgresConnection(pg_conn* connection, std::string name)
      : connection_(connection), name_(std::move(name)) {}
  absl::StatusOr<Result> Answer(std::chrono::milliseconds limit);
  absl::Status Lost() const;

  pg_conn* connection_;
  const std::string name_;
  bool broken_ = false;
};

}  // namespace weft::store
