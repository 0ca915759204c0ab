// SIGTERM: nothing is lost, and the exit code is 0.
#include <signal.h>

#include <thread>

#include "tests/integration/scheduler/harness.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using weft::testing::Mesh;
namespace v1 = weft::v1;

TEST_CASE("A scheduler that gets SIGTERM finishes its streams, refuses new ones and exits with 0",
          "[integration]") {
  Mesh mesh;
  mesh.StartWorker(0);
  mesh.StartScheduler(0, 1);
  const auto client = mesh.Connect();
  const uint32_t h = client->Submit(weft::testing::PromptRequest("Counting: one, two,", 60));
  REQUIRE(client->WaitTokensOf(h, 3, 30s));
  mesh.scheduler().Signal(SIGTERM);
  for (int i = 0; i < 200 && !client->told_draining(); ++i) std::this_thread::sleep_for(10ms);
  CHECK(client->told_draining());
  const uint32_t refused = client->Submit(weft::testing::PromptRequest("x", 4));
  REQUIRE(client->WaitFinished({h, refused}, 30s));
  CHECK(client->Get(h).ok());
  CHECK(client->Get(h).tokens.size() == 60);
  CHECK(client->Get(refused).finished->error().code() == 14);
  CHECK(mesh.scheduler().Wait(20s) == 0);
}

TEST_CASE("A worker that gets SIGTERM ends its sequences or hands them over, and exits with 0",
          "[integration]") {
  Mesh mesh;
  mesh.StartWorker(0, {"worker.drain_timeout=300ms"});
  mesh.StartScheduler(0, 2);
  const auto client = mesh.Connect();
  const v1::Submit request = weft::testing::SeededRequest("A long story:", 150, 7);
  const uint32_t undisturbed = client->Submit(request);
  REQUIRE(client->WaitFinished({undisturbed}, 60s));
  const uint32_t h = client->Submit(request);
  REQUIRE(client->WaitTokensOf(h, 3, 30s));
  mesh.StartWorker(1);
  for (int i = 0; i < 400 && !mesh.Describe(1); ++i) std::this_thread::sleep_for(25ms);
  mesh.worker(0).Signal(SIGTERM);
  CHECK(mesh.worker(0).Wait(20s) == 0);
  REQUIRE(client->WaitFinished({h}, 60s));
  INFO(mesh.Logs());
  CHECK(client->Get(h).ok());
  CHECK(client->Get(h).text == client->Get(undisturbed).text);
  CHECK(client->violations().empty());
}
