// A real PostgreSQL server, and a real PgBouncer in transaction mode before it, for one test
// program: in a folder of its own, on Unix sockets, as an unprivileged user.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace weft::test {

class PostgresServer {
 public:
  // `settings` are lines of postgresql.conf; the port is also of the Unix socket.
  explicit PostgresServer(const std::vector<std::string>& settings = {}, int port = 5432);
  ~PostgresServer();

  // A new, empty database that the ordinary role `weft` owns; returns its URL.
  std::string NewDatabase();
  // The same database through PgBouncer in transaction mode, with two server connections for all.
  std::string ThroughPgBouncer(const std::string& url);
  // The same database as the superuser.
  std::string AsSuperuser(const std::string& url) const;
  // Runs statements as the superuser in the database of that URL; the answer as psql -At prints it.
  std::string Sql(const std::string& url, const std::string& sql);

  void Start();  // returns when it answers
  void Kill();   // SIGKILL, as kill -9 of the postmaster; its children are gone when it returns
  const std::string& folder() const { return folder_.path(); }
  static uid_t User();  // who owns what the server reads

 private:
  std::vector<std::string> Unprivileged(std::vector<std::string> argv) const;
  void Run(std::vector<std::string> argv);
  std::string Log() const;

  testing::TempDir folder_;
  const int port_;
  std::string bin_;
  std::unique_ptr<testing::Process> server_;
  std::unique_ptr<testing::Process> bouncer_;
  int databases_ = 0;
};

// One for all tests of a program, made when it is first asked for.
PostgresServer& SharedPostgres();

}  // namespace weft::test
