// The gateway over a key database that is damaged or cannot be written.
#include <sys/fsuid.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "libs/base/status.h"
#include "libs/store/sqlite.h"
#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"

using nlohmann::json;
using weft::Message;
using weft::test::GatewayFixture;
using weft::test::HttpRequest;

namespace {

void WriteFile(const std::string& path, size_t size) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << std::string(size, 'X');
}

// What a gateway says that shall start on the fixture's database while the fixture is gone.
absl::Status Start(const weft::gateway::Config& config) {
  weft::telemetry::Config telemetry_config;
  telemetry_config.traces = false;
  auto telemetry = weft::rpc::StartTelemetry(telemetry_config, "weft-gateway", "test");
  REQUIRE(telemetry.ok());
  return weft::gateway::GatewayServer::Start(config, **telemetry).status();
}

}  // namespace

TEST_CASE("A gateway does not start on a damaged database, and names it", "[gateway]") {
  GatewayFixture f;
  f.server.reset();
  WriteFile(f.config.database, 20'000);
  const absl::Status status = Start(f.config);
  CHECK(status.code() == absl::StatusCode::kDataLoss);
  CHECK(Message(status).find(f.config.database) != std::string_view::npos);
  CHECK(std::filesystem::file_size(f.config.database) == 20'000);  // it is the user's to mend
}

TEST_CASE("A gateway does not start on a database that it cannot write, and names it",
          "[gateway]") {
  GatewayFixture f;
  f.server.reset();
  REQUIRE(chmod(f.config.database.c_str(), 0444) == 0);
  REQUIRE(chmod(f.dir.path().c_str(), 0755) == 0);
  // Root may write anything: this thread gives that up for files.
  const int before = setfsuid(65534);
  const absl::Status status = Start(f.config);
  setfsuid(static_cast<uid_t>(before));
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Message(status).find(f.config.database) != std::string_view::npos);
  CHECK(Message(status).find("cannot be written") != std::string_view::npos);
}

TEST_CASE("A database that breaks while the gateway runs makes it not ready, and says why",
          "[gateway]") {
  GatewayFixture f;
  {
    // A commit by another process: from then on pages are read from the file again.
    auto other = weft::store::SqliteConnection::Open(f.config.database);
    REQUIRE(other.ok());
    REQUIRE((*other)->Execute("INSERT INTO tenants (name, created_at) VALUES ('x', 1)").ok());
    for (const std::string& file : {f.config.database, f.config.database + "-wal"}) {
      WriteFile(file, std::filesystem::file_size(file));
    }
  }
  const auto ready = [&] { return HttpRequest(f.server->admin_port(), "GET", "/ready"); };
  f.WaitFor(
      [&] {
        const auto answer = f.Get("/v1/models");
        if (answer.status == 200) return false;
        CHECK(answer.status == 503);
        CHECK(json::parse(answer.body)["error"]["code"] == "service_unavailable");
        CHECK(answer.body.find(f.dir.path()) == std::string::npos);
        return true;
      },
      "the damage to be met");
  CHECK(ready().status == 503);
  CHECK(ready().body.find("the key database cannot be used") != std::string::npos);
  CHECK(f.Get("/ready").status == 503);
  CHECK(f.Get("/health").status == 200);  // the process itself is well
}
