// Scheduler and worker over TCP with mutual TLS, found through DNS.
#include <regex>
#include <thread>

#include "tests/integration/scheduler/harness.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tls_files.h"

using namespace std::chrono_literals;
using weft::testing::Mesh;
namespace v1 = weft::v1;

namespace {

// Waits until the logs match, and returns the first group.
std::string WaitForLog(const Mesh& mesh, const std::string& pattern) {
  const std::regex expression(pattern);
  for (int i = 0; i < 2400; ++i) {
    const std::string logs = mesh.Logs();
    std::smatch match;
    if (std::regex_search(logs, match, expression)) return match[1];
    std::this_thread::sleep_for(25ms);
  }
  FAIL("no log line is like " << pattern << ":\n" << mesh.Logs());
  return {};
}

}  // namespace

TEST_CASE(
    "A scheduler with a certificate finds a worker by name and works with it, one without "
    "does not",
    "[integration]") {
  const weft::test::TempDir tls;
  weft::test::MakeTlsFiles(tls.path());
  Mesh mesh;
  mesh.StartWorker(0, {"worker.listen=127.0.0.1:0", "worker.tls.enabled=true",
                       "worker.tls.certificate_file=" + tls.File("server.pem"),
                       "worker.tls.key_file=" + tls.File("server.key"),
                       "worker.tls.ca_file=" + tls.File("ca.pem"),
                       "worker.tls.require_client_certificate=true"});
  const std::string port =
      WaitForLog(mesh, "\"listening\"[^\\n]*\"address\": ?\"127\\.0\\.0\\.1:([0-9]+)\"");
  const std::string workers = "scheduler.workers=dns:///127.0.0.1:" + port;
  const std::vector<std::string> trusts = {"scheduler.worker_tls.enabled=true",
                                           "scheduler.worker_tls.ca_file=" + tls.File("ca.pem")};

  std::vector<std::string> without = trusts;
  without.push_back(workers);
  mesh.StartScheduler(1, 0, without);
  WaitForLog(mesh, "(no session with worker)");

  std::vector<std::string> with = without;
  with.push_back("scheduler.worker_tls.certificate_file=" + tls.File("client.pem"));
  with.push_back("scheduler.worker_tls.key_file=" + tls.File("client.key"));
  mesh.StartScheduler(0, 0, with);
  const auto client = mesh.Connect(0);
  const uint32_t h = client->Submit(weft::testing::PromptRequest("Counting: one, two,", 8));
  REQUIRE(client->WaitFinished({h}, 60s));
  INFO(mesh.Logs());
  CHECK(client->Get(h).ok());

  weft::testing::GatewayClient other(mesh.SchedulerTarget(1));
  grpc::ClientContext context;
  v1::ListModelsResponse models;
  REQUIRE(other.stub().ListModels(&context, {}, &models).ok());
  CHECK(models.models().empty());
}
