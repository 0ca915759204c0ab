// Workers die, hang and wake up again; clients see a pause.
#include <signal.h>

#include <thread>

#include "tests/integration/scheduler/harness.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using weft::testing::Answer;
using weft::testing::GatewayClient;
using weft::testing::Mesh;
namespace v1 = weft::v1;

namespace {

std::vector<uint32_t> SubmitAll(GatewayClient& client, const std::vector<v1::Submit>& requests) {
  std::vector<uint32_t> handles;
  for (const v1::Submit& s : requests) handles.push_back(client.Submit(s));
  return handles;
}

std::vector<Answer> Collect(GatewayClient& client, const std::vector<uint32_t>& handles) {
  std::vector<Answer> answers;
  for (const uint32_t h : handles) answers.push_back(client.Get(h));
  return answers;
}

// The texts of an undisturbed run.
std::vector<Answer> Baseline(GatewayClient& client, const std::vector<v1::Submit>& requests) {
  const auto handles = SubmitAll(client, requests);
  REQUIRE(client.WaitFinished(handles, 120s));
  auto answers = Collect(client, handles);
  for (const Answer& a : answers) REQUIRE(a.ok());
  return answers;
}

void CheckEqual(const std::vector<Answer>& got, const std::vector<Answer>& want) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    INFO("request " << i << ": "
                    << (got[i].finished ? got[i].finished->ShortDebugString() : "not finished"));
    CHECK(got[i].ok());
    CHECK(got[i].text == want[i].text);
    CHECK(got[i].tokens == want[i].tokens);
    if (got[i].finished) {
      CHECK(got[i].finished->usage().completion_tokens() ==
            want[i].finished->usage().completion_tokens());
    }
  }
}

size_t Interrupted(const std::vector<Answer>& answers) {
  size_t n = 0;
  for (const Answer& a : answers) n += a.finished && a.finished->attempts() > 1;
  return n;
}

}  // namespace

TEST_CASE("kill -9 of a worker changes no text of 40 greedy and seeded streams", "[integration]") {
  Mesh mesh;
  mesh.StartWorker(0);
  mesh.StartWorker(1);
  mesh.StartScheduler(0, 2);
  const auto client = mesh.Connect();
  const auto requests = weft::testing::MixedRequests(40, 24);
  const auto want = Baseline(*client, requests);

  const auto handles = SubmitAll(*client, requests);
  REQUIRE(client->WaitTokens(40 * 24 + 40 * 8, 60s));
  mesh.worker(0).Signal(SIGKILL);
  REQUIRE(client->WaitFinished(handles, 120s));
  const auto got = Collect(*client, handles);
  INFO(mesh.Logs());
  CheckEqual(got, want);
  CHECK(Interrupted(got) > 0);
  CHECK(client->violations().empty());
}

TEST_CASE("A worker stopped by SIGSTOP is taken out, and doubles nothing when it wakes",
          "[integration]") {
  Mesh mesh;
  mesh.StartWorker(0);
  mesh.StartWorker(1);
  mesh.StartScheduler(0, 2, {"scheduler.silent_timeout=2s"});
  const auto client = mesh.Connect();
  const auto requests = weft::testing::MixedRequests(16, 24);
  const auto want = Baseline(*client, requests);

  const auto handles = SubmitAll(*client, requests);
  REQUIRE(client->WaitTokens(16 * 24 + 16 * 6, 60s));
  mesh.worker(0).Signal(SIGSTOP);
  // Some go on at the other worker; wake the first one in the middle of that.
  std::this_thread::sleep_for(2500ms);
  mesh.worker(0).Signal(SIGCONT);
  REQUIRE(client->WaitFinished(handles, 120s));
  std::this_thread::sleep_for(300ms);  // for what the woken worker may still say
  const auto got = Collect(*client, handles);
  INFO(mesh.Logs());
  CheckEqual(got, want);
  CHECK(Interrupted(got) > 0);
  CHECK(client->violations().empty());

  // It serves again, alone, and has freed what it had.
  mesh.worker(1).Signal(SIGKILL);
  CheckEqual(Baseline(*client, {requests[0]}), {want[0]});
}

TEST_CASE("A request that crashes every worker it meets fails alone", "[integration]") {
  Mesh mesh;
  const std::vector<std::string> faults = {"worker.fault_injection.crash_text=xyzzy",
                                           "worker.fault_injection.crash_after_tokens=2"};
  for (int i = 0; i < 2; ++i) mesh.StartWorker(i, faults, true);
  mesh.StartScheduler(0, 2, {"scheduler.no_worker_timeout=60s"});
  const auto client = mesh.Connect();
  const auto requests = weft::testing::MixedRequests(6, 48);
  const auto want = Baseline(*client, requests);

  const auto handles = SubmitAll(*client, requests);
  const uint32_t poison = client->Submit(weft::testing::PromptRequest("say xyzzy to me", 16));
  // The supervisor's part.
  int crashes = 0;
  for (int i = 0; i < 1200 && !client->WaitFinished({poison}, 50ms); ++i) {
    for (int w = 0; w < 2; ++w) {
      if (mesh.worker(w).running()) continue;
      ++crashes;
      mesh.StartWorker(w, faults, true);
    }
  }
  REQUIRE(client->Get(poison).finished);
  INFO(mesh.Logs());
  CHECK(client->Get(poison).finished->reason() == v1::FINISH_REASON_ERROR);
  CHECK(client->Get(poison).finished->error().code() == 13);
  CHECK(client->Get(poison).finished->attempts() == 3);
  CHECK(crashes >= 2);
  for (int w = 0; w < 2; ++w) {
    if (!mesh.worker(w).running()) mesh.StartWorker(w, faults, true);
  }
  REQUIRE(client->WaitFinished(handles, 120s));
  CheckEqual(Collect(*client, handles), want);
  CHECK(client->violations().empty());
}

TEST_CASE(
    "All workers dead: requests wait, then fail with a clear UNAVAILABLE; a worker that "
    "comes back serves again",
    "[integration]") {
  Mesh mesh;
  mesh.StartWorker(0);
  mesh.StartScheduler(0, 1, {"scheduler.no_worker_timeout=1500ms"});
  const auto client = mesh.Connect();
  const uint32_t running = client->Submit(weft::testing::PromptRequest("Once upon a time", 2000));
  REQUIRE(client->WaitTokensOf(running, 5, 30s));
  mesh.worker(0).Signal(SIGKILL);
  const uint32_t late = client->Submit(weft::testing::PromptRequest("Once upon a time", 8));
  REQUIRE(client->WaitFinished({running, late}, 20s));
  for (const uint32_t h : {running, late}) {
    CHECK(client->Get(h).finished->error().code() == 14);
    CHECK(client->Get(h).finished->error().has_retry_after());
  }
  mesh.StartWorker(0);
  std::optional<Answer> again;
  for (int i = 0; i < 20 && !(again && again->ok()); ++i) {
    const uint32_t h = client->Submit(weft::testing::PromptRequest("Once upon a time", 8));
    REQUIRE(client->WaitFinished({h}, 20s));
    again = client->Get(h);
  }
  CHECK(again->ok());
}
