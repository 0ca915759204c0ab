// weft-collector as a process that is killed: what it accepted is delivered by the next one.
#include <signal.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "services/collector/otlp_codec.h"
#include "tests/integration/collector/otlp_client.h"
#include "tests/integration/collector/span_file.h"
#include "tests/support/catch.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace weft::collector {
namespace {

using namespace std::chrono_literals;
using testing::Process;

// A collector on a Unix socket. Without a destination it writes to a file; with one that is away it
// can only keep what it takes.
class Runner {
 public:
  std::string Address() const { return "unix:" + dir_.File("otlp.sock"); }
  std::string File() const { return dir_.File("spans.jsonl"); }

  Process Start(std::vector<std::string> more) const {
    std::vector<std::string> argv = {WEFT_COLLECTOR_BINARY};
    more.insert(more.end(), {"collector.otlp_grpc_listen=[\"" + Address() + "\"]",
                             "collector.otlp_http_listen=", "collector.admin_listen=127.0.0.1:0",
                             "collector.disk_queue.directory=" + dir_.File("queue"),
                             "collector.disk_queue.segment_bytes=65536",
                             "collector.batch.max_wait=5ms", "collector.drain_timeout=5s"});
    for (std::string& setting : more) argv.insert(argv.end(), {"--set", std::move(setting)});
    return Process(argv, dir_.File("log"));
  }
  // The destination never answers: a closed port on this machine.
  std::vector<std::string> Away() const { return {"collector.export.endpoint=127.0.0.1:1"}; }
  std::vector<std::string> ToFile() const { return {"collector.file=" + File()}; }

  // Sends one span of that name until it is accepted or the collector is gone.
  bool Send(const std::string& name) const {
    spans::Spans spans = ManySpans(1);
    spans[0].scopes[0].spans[0].name = name;
    const std::string request = SerializeOtlpProto(spans);
    return ExportOverGrpc(Address(), request, false).status.ok();
  }
  void WaitReady() const {
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (HealthOf(Address(), "") != "SERVING") {
      REQUIRE(std::chrono::steady_clock::now() < end);
      std::this_thread::sleep_for(5ms);
    }
  }

 private:
  test::TempDir dir_;
};

std::multiset<std::string> NamesIn(const spans::Spans& spans) {
  std::multiset<std::string> names;
  for (const auto& resource : spans) {
    for (const auto& scope : resource.scopes) {
      for (const auto& span : scope.spans) names.insert(span.name);
    }
  }
  return names;
}

TEST_CASE("Every span that a killed collector accepted is delivered by the next", "[collector]") {
  Runner runner;
  std::vector<std::string> accepted;
  {
    Process first = runner.Start(runner.Away());
    runner.WaitReady();
    std::atomic<int> sent = 0;
    std::thread killer([&] {
      while (sent < 150) std::this_thread::sleep_for(1ms);
      first.Signal(SIGKILL);
    });
    for (int i = 0; i < 100'000; ++i) {
      const std::string name = "span " + std::to_string(i);
      if (!runner.Send(name)) break;
      accepted.push_back(name);
      ++sent;
    }
    sent = 1000;
    killer.join();
    REQUIRE(first.Wait(30s) == 128 + SIGKILL);
  }
  REQUIRE(accepted.size() >= 150);
  {
    Process second = runner.Start(runner.ToFile());
    const auto names = NamesIn(WaitSpansIn(runner.File(), accepted.size()));
    for (const std::string& name : accepted) REQUIRE(names.count(name) >= 1);
    second.Signal(SIGTERM);
    REQUIRE(second.Wait(30s) == 0);
  }
  // What was delivered is not delivered again.
  const size_t delivered = NamesIn(SpansIn(runner.File())).size();
  Process third = runner.Start(runner.ToFile());
  runner.WaitReady();
  REQUIRE(runner.Send("last"));
  REQUIRE(NamesIn(WaitSpansIn(runner.File(), delivered + 1)).size() == delivered + 1);
  third.Signal(SIGTERM);
  REQUIRE(third.Wait(30s) == 0);
}

TEST_CASE("A collector that ends in order while its destination is away keeps the spans",
          "[collector]") {
  Runner runner;
  {
    auto settings = runner.Away();
    settings.push_back("collector.drain_timeout=200ms");
    Process first = runner.Start(settings);
    runner.WaitReady();
    for (int i = 0; i < 5; ++i) REQUIRE(runner.Send(std::to_string(i)));
    first.Signal(SIGTERM);
    REQUIRE(first.Wait(30s) == 0);
  }
  Process second = runner.Start(runner.ToFile());
  REQUIRE(NamesIn(WaitSpansIn(runner.File(), 5)) ==
          std::multiset<std::string>{"0", "1", "2", "3", "4"});
}

}  // namespace
}  // namespace weft::collector
