#include "services/collector/collector.h"

#include <fcntl.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/status.h"
#include "libs/spans/gzip.h"
#include "libs/spans/otlp_json.h"
#include "services/collector/otlp_codec.h"
#include "tests/integration/collector/otlp_client.h"
#include "tests/integration/collector/span_file.h"
#include "tests/support/catch.h"
#include "tests/support/raw_http.h"
#include "tests/support/temp_dir.h"

namespace weft::collector {
namespace {

using namespace std::chrono_literals;
using test::HttpRequest;

constexpr char kProto[] = "Content-Type: application/x-protobuf\r\n";
constexpr char kJson[] = "Content-Type: application/json\r\n";

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string Golden(const std::string& name) { return ReadFile("tests/data/golden/otlp/" + name); }

// A collector on free ports that writes to a file.
struct Running {
  test::TempDir dir;
  telemetry::Registry registry;
  Config config;
  std::unique_ptr<Collector> collector;

  explicit Running(const std::function<void(Config&)>& change = {}) {
    config.grpc.listen = {"127.0.0.1:0"};
    config.otlp_http_listen = "127.0.0.1:0";
    config.admin_listen = "127.0.0.1:0";
    config.file = dir.File("spans.jsonl");
    config.disk_queue.directory = dir.File("queue");
    config.batch.max_wait = 5ms;
    if (change) change(config);
    auto started = Collector::Start(config, registry);
    INFO(ToString(started.status()));
    REQUIRE(started.ok());
    collector = *std::move(started);
  }

  std::string grpc() const { return collector->grpc_addresses().at(0); }
  test::RawHttp::Answer Post(const std::string& body, const std::string& headers) const {
    return HttpRequest(collector->http_port(), "POST", "/v1/traces", body, headers);
  }
  spans::Spans WaitSpans(size_t count) const { return WaitSpansIn(config.file, count); }
  double Metric(const std::string& series) const {
    const std::string text = "\n" + registry.Expose();
    const size_t at = text.find("\n" + series + " ");
    return at == std::string::npos ? 0 : std::stod(text.substr(at + series.size() + 2));
  }
};

TEST_CASE("Our OTLP messages are wire compatible with the public ones", "[collector]") {
  const std::string binary = Golden("export_request.bin");
  const auto from_proto = ParseOtlpProto(binary);
  REQUIRE(from_proto.ok());
  const auto from_json = spans::ParseOtlpJson(Golden("export_request.json"));
  INFO(ToString(from_json.status()));
  REQUIRE(from_json.ok());
  REQUIRE(*from_proto == *from_json);
  const spans::Span& span = from_proto->at(0).scopes.at(0).spans.at(0);
  REQUIRE(span.name == "POST /v1/chat/completions");
  REQUIRE(span.links.at(0).flags == 0x101);
  REQUIRE(span.attributes.size() == 8);
  // Nothing is lost on the way back: the bytes are the ones that the public package wrote.
  REQUIRE(SerializeOtlpProto(*from_proto) == binary);
  REQUIRE(ResponseProto(2, "span_id: must have 8 bytes, not all zero") ==
          Golden("export_response.bin"));
}

TEST_CASE("The collector takes OTLP over gRPC, HTTP protobuf and HTTP JSON alike", "[collector]") {
  Running running;
  const std::string binary = Golden("export_request.bin");
  const std::string json = Golden("export_request.json");
  REQUIRE(ExportOverGrpc(running.grpc(), binary, false).status.ok());
  REQUIRE(ExportOverGrpc(running.grpc(), binary, true).status.ok());
  const auto proto_answer = running.Post(binary, kProto);
  REQUIRE(proto_answer.status == 200);
  REQUIRE(proto_answer.body.empty());
  REQUIRE(proto_answer.Header("Content-Type") == "application/x-protobuf");
  const auto json_answer = running.Post(json, "Content-Type: application/json; charset=utf-8\r\n");
  REQUIRE(json_answer.status == 200);
  REQUIRE(json_answer.body == "{}");
  REQUIRE(running.Post(spans::Gzip(binary), std::string(kProto) + "Content-Encoding: gzip\r\n")
              .status == 200);
  REQUIRE(
      running.Post(spans::Gzip(json), std::string(kJson) + "Content-Encoding: gzip\r\n").status ==
      200);
  const auto expected = *ParseOtlpProto(binary);
  for (const auto& resource : running.WaitSpans(12)) {
    REQUIRE(resource.resource == expected[0].resource);
    for (const auto& scope : resource.scopes) {
      REQUIRE(scope.scope_attributes == expected[0].scopes[0].scope_attributes);
      for (const auto& span : scope.spans) {
        REQUIRE((span == expected[0].scopes[0].spans[0] || span == expected[0].scopes[0].spans[1]));
      }
    }
  }
  REQUIRE(running.Metric("weft_collector_spans_received_total{transport=\"grpc\"}") == 4);
  REQUIRE(running.Metric("weft_collector_spans_received_total{transport=\"http\"}") == 8);
}

TEST_CASE("The collector answers bad requests with a status in the request's format",
          "[collector]") {
  Running running([](Config& config) { config.max_request_bytes = 20'000; });
  const auto check = [&](const std::string& body, const std::string& headers, int status,
                         const std::string& text) {
    const auto answer = running.Post(body, headers);
    INFO(answer.head << answer.body);
    REQUIRE(answer.status == status);
    REQUIRE(answer.body.find(text) != std::string::npos);
    return answer;
  };
  const std::string gzip = "Content-Encoding: gzip\r\n";
  REQUIRE(nlohmann::json::parse(check("{", kJson, 400, "not JSON").body)["code"] == 3);
  check("\xff\xff", kProto, 400, "ExportTraceServiceRequest");
  check("{}", "Content-Type: text/plain\r\n", 415, "Content-Type 'text/plain' is not supported");
  check("{}", "", 415, "not supported");
  check("{}", std::string(kJson) + "Content-Encoding: br\r\n", 415, "Content-Encoding 'br'");
  check("not gzip", kJson + gzip, 400, "gzip");
  check(spans::Gzip(std::string(1'000'000, ' ')), kJson + gzip, 413, "more than 20000 bytes");
  REQUIRE(running.Post(std::string(30'000, ' '), kJson).status == 413);
  REQUIRE(HttpRequest(running.collector->http_port(), "GET", "/v1/traces").status == 405);
  REQUIRE(HttpRequest(running.collector->http_port(), "POST", "/v1/logs", "{}", kJson).status ==
          404);
  REQUIRE_FALSE(
      ExportOverGrpc(running.grpc(), SerializeOtlpProto(ManySpans(300)), false).status.ok());
  REQUIRE(running.Metric("weft_collector_spans_received_total{transport=\"http\"}") == 0);
}

TEST_CASE("The collector reports spans that it rejects as partial success", "[collector]") {
  Running running;
  spans::Spans spans = ManySpans(3);
  spans[0].scopes[0].spans[1].trace_id = "bad";
  const GrpcAnswer over_grpc = ExportOverGrpc(running.grpc(), SerializeOtlpProto(spans), false);
  REQUIRE(over_grpc.status.ok());
  REQUIRE(over_grpc.rejected == 1);
  REQUIRE(over_grpc.reason == "trace_id: must have 16 bytes, not all zero");
  const auto over_http = running.Post(spans::ToOtlpJson(spans), kJson);
  REQUIRE(over_http.status == 200);
  const auto body = nlohmann::json::parse(over_http.body);
  REQUIRE(body["partialSuccess"]["rejectedSpans"] == "1");
  running.WaitSpans(4);
  REQUIRE(running.Metric("weft_collector_spans_rejected_total{transport=\"grpc\"}") == 1);
}

TEST_CASE("A full collector refuses with a time to wait, and loses nothing it took",
          "[collector]") {
  const bool on_disk = GENERATE(false, true);
  CAPTURE(on_disk);
  // Nobody listens at the destination, so that the spans pile up.
  Running running([on_disk](Config& config) {
    if (on_disk) {
      config.disk_queue.max_bytes = 1 << 20;
      config.disk_queue.segment_bytes = 64 << 10;
    } else {
      config.disk_queue.directory.clear();
    }
    config.destination.target = "unix:/tmp/weft-nobody-listens-here.sock";
    config.export_options.queue_batches = 1;
    config.export_options.senders = 1;
    config.batch.max_spans = 100;
    config.max_request_bytes = 500'000;
    config.memory_limit_bytes = 1 << 20;
    config.drain_timeout = 100ms;
  });
  const std::string request = SerializeOtlpProto(ManySpans(300));
  double taken = 0;
  GrpcAnswer refused;
  for (int i = 0; i < 100 && refused.status.ok(); ++i) {
    refused = ExportOverGrpc(running.grpc(), request, false);
    if (refused.status.ok()) taken += 300;
  }
  REQUIRE(refused.status.code() == absl::StatusCode::kResourceExhausted);
  REQUIRE(refused.retry_after.has_value());
  const auto over_http = running.Post(request, kProto);
  REQUIRE(over_http.status == 503);
  REQUIRE(over_http.Header("Retry-After") == "1");
  REQUIRE(running.Metric("weft_collector_memory_bytes") <= 1.1 * (1 << 20));
  running.collector->Shutdown();
  const double failed = running.Metric("weft_collector_spans_failed_total{exporter=\"otlp\"}") +
                        running.Metric("weft_collector_spans_failed_total{exporter=\"batcher\"}");
  REQUIRE(failed == (on_disk ? 0 : taken));
  if (!on_disk) return;
  running.collector.reset();
  Config config = running.config;
  config.destination.target.clear();
  config.drain_timeout = 30s;
  telemetry::Registry registry;
  auto next = Collector::Start(config, registry);
  REQUIRE(next.ok());
  (*next)->Shutdown();
  const std::string sent = "weft_collector_spans_exported_total{exporter=\"file\"} ";
  REQUIRE(registry.Expose().find(sent + std::to_string(static_cast<int>(taken)) + "\n") !=
          std::string::npos);
}

TEST_CASE("Spans travel through a chain of collectors, also one that comes late", "[collector]") {
  test::TempDir dir;
  const std::string socket = "unix:" + dir.File("otlp.sock");
  Running first([&](Config& config) {
    config.destination.target = socket;
    config.destination.min_reconnect = 10ms;
    config.destination.max_reconnect = 50ms;
    config.export_options.backoff = {10ms, 50ms, 2.0, 0.2};
    config.file.clear();
  });
  REQUIRE(ExportOverGrpc(first.grpc(), SerializeOtlpProto(ManySpans(50)), false).status.ok());
  std::this_thread::sleep_for(100ms);
  Running second([&](Config& config) { config.grpc.listen = {socket}; });
  REQUIRE(spans::CountSpans(second.WaitSpans(50)) == 50);
  first.collector->Shutdown();
  REQUIRE(first.Metric("weft_collector_spans_exported_total{exporter=\"otlp\"}") == 50);
  REQUIRE(first.Metric("weft_collector_export_retries_total{exporter=\"otlp\"}") > 0);
}

TEST_CASE("The collector's disk queue shows in its metrics, and its folder has one owner",
          "[collector]") {
  Running running;
  REQUIRE(running.Post(Golden("export_request.bin"), kProto).status == 200);
  running.WaitSpans(2);
  REQUIRE(running.Metric("weft_collector_disk_queue_limit_bytes") == 256 << 20);
  REQUIRE(running.Metric("weft_collector_disk_queue_bytes") > 0);
  REQUIRE(running.Metric("weft_collector_disk_queue_write_errors_total") == 0);
  Config config = running.config;
  telemetry::Registry registry;
  const auto second = Collector::Start(config, registry);
  REQUIRE(Message(second.status()).find("disk_queue.directory") != std::string_view::npos);
  config.disk_queue.directory.clear();
  config.disk_queue.max_bytes = 1 << 20;
  REQUIRE(config.Validate().ok());
  config.disk_queue.directory = "x";
  REQUIRE(Message(config.Validate()).find("disk_queue.max_bytes") != std::string_view::npos);
}

TEST_CASE("Shutdown sends on what was accepted a moment ago", "[collector]") {
  Running running([](Config& config) { config.batch.max_wait = 1h; });
  REQUIRE(running.Post(Golden("export_request.bin"), kProto).status == 200);
  running.collector->Shutdown();
  running.collector->Shutdown();
  REQUIRE(spans::CountSpans(running.WaitSpans(2)) == 2);
}

TEST_CASE("The collector's admin port serves metrics, health and readiness", "[collector]") {
  Running running;
  const uint16_t port = running.collector->admin_port();
  REQUIRE(HttpRequest(port, "GET", "/health").status == 200);
  REQUIRE(HttpRequest(port, "GET", "/ready").status == 200);
  const auto metrics = HttpRequest(port, "GET", "/metrics");
  REQUIRE(metrics.body.find("weft_collector_memory_limit_bytes 268435456") != std::string::npos);
  REQUIRE(HealthOf(running.grpc(), "") == "SERVING");
  REQUIRE(HealthOf(running.grpc(), "opentelemetry.proto.collector.trace.v1.TraceService") ==
          "SERVING");
  running.collector->Shutdown();
  REQUIRE(HttpRequest(port, "GET", "/ready").status == 503);
}

TEST_CASE("The collector says which address it cannot have", "[collector]") {
  Running running;
  Config config = running.config;
  config.grpc.listen = {running.grpc()};
  config.disk_queue.directory.clear();
  telemetry::Registry registry;
  const auto second = Collector::Start(config, registry);
  INFO(ToString(second.status()));
  REQUIRE(Message(second.status()).find(running.grpc()) != std::string_view::npos);
  config.grpc.listen = {"127.0.0.1:0"};
  config.otlp_http_listen = "nonsense";
  REQUIRE(Message(Collector::Start(config, registry).status()).find("otlp_http_listen") !=
          std::string_view::npos);
}

TEST_CASE("A service's own spans arrive with its resource", "[collector]") {
  Running running;
  SendOwnSpans(running.grpc());
  const auto spans = running.WaitSpans(2);
  const auto find = [](const spans::Attributes& attributes, const std::string& key) {
    for (const auto& entry : attributes) {
      if (entry.key == key) return std::get<std::string>(entry.value.value);
    }
    return std::string();
  };
  REQUIRE(find(spans[0].resource, "service.name") == "weft-test");
  REQUIRE(find(spans[0].resource, "deployment.environment") == "ci");
  REQUIRE(spans[0].scopes[0].scope_name == "weft");
  const auto& child = spans[0].scopes[0].spans.at(0);
  const auto& parent = spans[0].scopes[0].spans.at(1);
  REQUIRE(child.parent_span_id == parent.span_id);
  REQUIRE(child.trace_id == parent.trace_id);
  REQUIRE(child.status_code == 2);
  REQUIRE(child.events.at(0).name == "first token");
  REQUIRE(parent.kind == 2);
  REQUIRE(parent.end_time_unix_nano >= child.end_time_unix_nano);
}

}  // namespace
}  // namespace weft::collector
