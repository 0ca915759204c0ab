// PostgreSQL over TLS: a real server with a certificate of an authority of its own.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <thread>

#include "libs/base/status.h"
#include "libs/store/database.h"
#include "libs/store/schema.h"
#include "tests/support/catch.h"
#include "tests/support/postgres_server.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tls_files.h"

using namespace std::chrono_literals;
using weft::store::Database;
using weft::store::DatabaseOptions;
using weft::store::Scope;
using weft::test::PostgresServer;

namespace {

// Below those that connections take by themselves.
int FreePort() {
  std::mt19937 random{std::random_device{}()};
  while (true) {
    const int port = std::uniform_int_distribution<int>(15'000, 30'000)(random);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool free = bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    close(fd);
    if (free) return port;
  }
}

// A server that takes nothing but TLS, and its authority's certificate.
struct TlsServer {
  TlsServer() {
    weft::test::MakeTlsFiles(files.path());
    std::ofstream(files.File("hba.conf")) << "local all all trust\n"
                                          << "hostssl all weft 127.0.0.1/32 scram-sha-256\n";
    for (const std::string& path : {files.path(), files.File("server.pem"),
                                    files.File("server.key"), files.File("hba.conf")}) {
      REQUIRE(chown(path.c_str(), PostgresServer::User(), static_cast<gid_t>(-1)) == 0);
    }
    REQUIRE(chmod(files.File("server.key").c_str(), 0600) == 0);
    server = std::make_unique<PostgresServer>(
        std::vector<std::string>{"listen_addresses = '127.0.0.1'", "ssl = on",
                                 "ssl_cert_file = '" + files.File("server.pem") + "'",
                                 "ssl_key_file = '" + files.File("server.key") + "'",
                                 "hba_file = '" + files.File("hba.conf") + "'"},
        port);
    name = server->NewDatabase();
    name = name.substr(name.find("@/") + 2);
    name = name.substr(0, name.find('?'));
  }

  std::string Url(const std::string& query, const std::string& password = "weft-password") const {
    return "postgresql://weft:" + password + "@/" + name + "?port=" + std::to_string(port) + "&" +
           query;
  }
  std::string Authority() const { return "sslrootcert=" + files.File("ca.pem"); }

  weft::test::TempDir files;
  const int port = FreePort();
  std::unique_ptr<PostgresServer> server;
  std::string name;
};

DatabaseOptions Quick() {
  DatabaseOptions options;
  options.connect = 5s;
  options.wait = 10s;
  options.longest_back_off = 100ms;
  return options;
}

// How this connection is protected, as the server sees it.
absl::StatusOr<std::string> Protection(Database& database) {
  WEFT_ASSIGN_OR_RETURN(
      const auto found,
      database.ReadOne(Scope::System(),
                       "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl", {}));
  return found.rows.empty() ? std::string("none") : found.rows[0].Text(0);
}

}  // namespace

TEST_CASE("A database over TLS is who it says, or is not spoken to", "[store]") {
  const TlsServer tls;
  const std::string full = "sslmode=verify-full&" + tls.Authority();
  auto database = Database::Open(tls.Url("host=localhost&" + full), Quick());
  REQUIRE(database.ok());
  REQUIRE((*database)->Migrate(weft::store::Schema()).ok());
  CHECK(Protection(**database).value() == "TLSv1.3");

  const auto refused = [&](const std::string& url) {
    const auto opened = Database::Open(url, Quick());
    REQUIRE_FALSE(opened.ok());
    const std::string message(opened.status().message());
    CHECK(message.find("weft-password") == std::string::npos);
    return message;
  };
  // The right authority, but another's name.
  CHECK(refused(tls.Url("host=db.example&hostaddr=127.0.0.1&" + full)).find("db.example") !=
        std::string::npos);
  // Another authority.
  const weft::test::TempDir other;
  weft::test::MakeTlsFiles(other.path());
  refused(tls.Url("host=localhost&sslmode=verify-full&sslrootcert=" + other.File("ca.pem")));
  refused(tls.Url("host=localhost&sslmode=verify-full&sslrootcert=" + other.File("nothing.pem")));
  refused(tls.Url("host=localhost&sslmode=disable"));
  refused(tls.Url("host=localhost&" + full, "another-password"));
}

TEST_CASE("A database over TLS that was away is found again, over TLS", "[store]") {
  const TlsServer tls;
  const std::string url = tls.Url("host=localhost&sslmode=verify-full&" + tls.Authority());
  auto database = Database::Open(url, Quick()).value();
  REQUIRE(database->Migrate(weft::store::Schema()).ok());
  for (int round = 0; round < 2; ++round) {
    CHECK(Protection(*database).value() == "TLSv1.3");
    tls.server->Kill();
    CHECK(Protection(*database).status().code() == absl::StatusCode::kUnavailable);
    tls.server->Start();
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (!Protection(*database).ok()) {
      REQUIRE(std::chrono::steady_clock::now() < end);
      std::this_thread::sleep_for(10ms);
    }
  }
}
