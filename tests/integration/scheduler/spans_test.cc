// One request is one trace: schedule, queue, worker, prefill and decode, with the right parents and
// times.
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <map>
#include <mutex>
#include <thread>

#include "libs/base/status.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"
#include "tests/integration/scheduler/harness.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using weft::testing::Mesh;
namespace otlp = opentelemetry::proto;

namespace {

// Takes spans over OTLP gRPC and keeps them by name.
class Receiver final : public otlp::collector::trace::v1::TraceService::Service {
 public:
  Receiver() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Receiver() override { server_->Shutdown(std::chrono::system_clock::now() + 1s); }

  grpc::Status Export(grpc::ServerContext*,
                      const otlp::collector::trace::v1::ExportTraceServiceRequest* request,
                      otlp::collector::trace::v1::ExportTraceServiceResponse*) override {
    std::lock_guard lock(mutex_);
    for (const auto& resource : request->resource_spans()) {
      for (const auto& scope : resource.scope_spans()) {
        for (const auto& span : scope.spans()) spans_.emplace(span.name(), span);
      }
    }
    return grpc::Status::OK;
  }
  std::multimap<std::string, otlp::trace::v1::Span> spans() const {
    std::lock_guard lock(mutex_);
    return spans_;
  }
  int port() const { return port_; }

 private:
  mutable std::mutex mutex_;
  std::multimap<std::string, otlp::trace::v1::Span> spans_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

std::string Bytes(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i < hex.size(); i += 2) {
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return out;
}

}  // namespace

TEST_CASE("A request's spans have the right parents and times", "[integration]") {
  Receiver receiver;
  const std::vector<std::string> traced = {
      "telemetry.traces.enabled=true", "telemetry.traces.flush_interval=50ms",
      fmt::format("telemetry.otlp_endpoint=127.0.0.1:{}", receiver.port())};
  Mesh mesh;
  mesh.StartWorker(0, traced);
  mesh.StartScheduler(0, 1, traced);
  const auto client = mesh.Connect();
  const std::string trace = "4bf92f3577b34da6a3ce929d0e0e4736";
  const std::string parent = "00f067aa0ba902b7";
  weft::v1::Submit s = weft::testing::PromptRequest("The sea is", 12);
  s.set_traceparent("00-" + trace + "-" + parent + "-01");
  const uint32_t h = client->Submit(s);
  REQUIRE(client->WaitFinished({h}, 30s));
  REQUIRE(client->Get(h).ok());

  for (int i = 0; i < 200 && receiver.spans().size() < 5; ++i) std::this_thread::sleep_for(25ms);
  const auto spans = receiver.spans();
  INFO(mesh.Logs());
  for (const char* name : {"schedule", "queue", "worker", "prefill", "decode"}) {
    INFO(name);
    REQUIRE(spans.count(name) == 1);
    CHECK(spans.find(name)->second.trace_id() == Bytes(trace));
  }
  const auto& schedule = spans.find("schedule")->second;
  const auto& queue = spans.find("queue")->second;
  const auto& worker = spans.find("worker")->second;
  const auto& prefill = spans.find("prefill")->second;
  const auto& decode = spans.find("decode")->second;
  CHECK(schedule.parent_span_id() == Bytes(parent));
  CHECK(queue.parent_span_id() == schedule.span_id());
  CHECK(worker.parent_span_id() == schedule.span_id());
  CHECK(prefill.parent_span_id() == worker.span_id());
  CHECK(decode.parent_span_id() == worker.span_id());
  // Two processes on one clock; conversions between clocks may be off by a little.
  const uint64_t slack = 2'000'000;
  const auto inside = [&](const auto& inner, const auto& outer) {
    CHECK(inner.start_time_unix_nano() <= inner.end_time_unix_nano());
    CHECK(inner.start_time_unix_nano() + slack >= outer.start_time_unix_nano());
    CHECK(inner.end_time_unix_nano() <= outer.end_time_unix_nano() + slack);
  };
  inside(queue, schedule);
  inside(worker, schedule);
  inside(prefill, worker);
  inside(decode, worker);
  CHECK(queue.end_time_unix_nano() <= worker.start_time_unix_nano() + slack);
  CHECK(prefill.end_time_unix_nano() <= decode.start_time_unix_nano() + slack);
}
