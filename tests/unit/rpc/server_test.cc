#include "libs/rpc/server.h"

#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <chrono>
#include <fstream>
#include <string>
#include <thread>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/config/schema.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tls_files.h"
#include "weft/rpc/v1/error_details.pb.h"
#include "weft/v1/worker.grpc.pb.h"

namespace weft::rpc {
namespace {

using namespace std::chrono_literals;

// Answers Describe with a status made from the request's metadata, and can take its time.
class TestService final : public weft::v1::WorkerService::CallbackService {
 public:
  absl::Status answer;
  std::chrono::milliseconds delay{0};
  std::string traceparent;

  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const weft::v1::DescribeRequest*,
                                     weft::v1::DescribeResponse* response) override {
    traceparent = Metadata(*context, "traceparent");
    response->set_worker_id(fmt::format(
        "{}",
        std::chrono::duration_cast<std::chrono::milliseconds>(TimeLeft(*context, 1h)).count()));
    auto* reactor = context->DefaultReactor();
    std::thread([this, reactor] {
      std::this_thread::sleep_for(delay);
      reactor->Finish(ToGrpcStatus(answer));
    }).detach();
    return reactor;
  }
};

std::unique_ptr<Server> StartServer(TestService& service, ServerOptions options) {
  auto server = Server::Start(options, {{&service, weft::v1::WorkerService::service_full_name()}});
  INFO(ToString(server.status()));
  REQUIRE(server.ok());
  return *std::move(server);
}

absl::Status Call(ChannelOptions options, weft::v1::DescribeResponse* response = nullptr,
                  std::chrono::nanoseconds timeout = 10s) {
  const auto channel = MakeChannel(options);
  if (!channel.ok()) return channel.status();
  const auto stub = weft::v1::WorkerService::NewStub(*channel);
  grpc::ClientContext context;
  SetTimeout(context, timeout);
  AddTrace(context, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "id");
  weft::v1::DescribeResponse local;
  return FromGrpcStatus(stub->Describe(&context, {}, response != nullptr ? response : &local));
}

TEST_CASE("Status keeps its code, message, field and retry time over the wire", "[rpc]") {
  absl::Status status = InvalidArgument("temperature: must be from 0 to 2, got 3");
  status = WithRetryAfter(WithField(std::move(status), "sampling.temperature"), 1250ms);
  const absl::Status back = FromGrpcStatus(ToGrpcStatus(status));
  REQUIRE(ToString(back) == ToString(status));
  REQUIRE(FieldOf(back) == "sampling.temperature");
  REQUIRE(RetryAfterOf(back) == 1250ms);
  REQUIRE(FromGrpcStatus(ToGrpcStatus(absl::OkStatus())).ok());
  REQUIRE(ToGrpcStatus(Internal("x")).error_details().empty());
}

TEST_CASE("Status survives details from a hostile peer, and a message without end", "[rpc]") {
  REQUIRE(FromGrpcStatus({grpc::StatusCode::INTERNAL, "m", "\xff\xff garbage"}).code() ==
          absl::StatusCode::kInternal);
  v1::StatusDetails details;
  auto* any = details.add_details();
  any->set_type_url("type.googleapis.com/google.rpc.RetryInfo");
  v1::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(std::numeric_limits<int64_t>::max());
  any->set_value(retry.SerializeAsString());
  const auto status =
      FromGrpcStatus({grpc::StatusCode::UNAVAILABLE, "m", details.SerializeAsString()});
  REQUIRE(RetryAfterOf(status) == 86'400'000ms);
  std::string text = "é";
  for (int i = 0; i < 14; ++i) text += text;
  const grpc::Status cut = ToGrpcStatus(WithField(Internal("x{}", text), text));
  REQUIRE(cut.error_message().size() <= 2048);
  REQUIRE(cut.error_details().size() < 6000);
  REQUIRE_FALSE(FieldOf(FromGrpcStatus(cut)).empty());
}

TEST_CASE("A server listens on TCP and Unix sockets and shows the errors of its methods", "[rpc]") {
  const test::TempDir dir;
  TestService service;
  service.answer = WithRetryAfter(ResourceExhausted("queue is full"), 2s);
  const std::string socket = "unix:" + dir.File("s.sock");
  auto server = StartServer(service, {.listen = {"127.0.0.1:0", socket}});
  REQUIRE(server->addresses().size() == 2);
  for (const std::string& address : server->addresses()) {
    weft::v1::DescribeResponse response;
    const absl::Status status = Call({.target = address}, &response, 5s);
    REQUIRE(ToString(status) == "RESOURCE_EXHAUSTED: queue is full");
    REQUIRE(RetryAfterOf(status) == 2s);
  }
  REQUIRE(service.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  struct stat info {};
  REQUIRE(stat(dir.File("s.sock").c_str(), &info) == 0);
  REQUIRE((info.st_mode & 0777) == 0600);
}

TEST_CASE("A server refuses an address that is in use, and replaces a stale socket", "[rpc]") {
  const test::TempDir dir;
  TestService service;
  const std::string socket = "unix:" + dir.File("s.sock");
  auto server = StartServer(service, {.listen = {"127.0.0.1:0", socket}});
  for (const std::string& address : server->addresses()) {
    TestService other;
    const auto second = Server::Start({.listen = {address}}, {{&other, "x"}});
    INFO(ToString(second.status()));
    REQUIRE(second.status().code() == absl::StatusCode::kFailedPrecondition);
    REQUIRE(Message(second.status()).find(address) != std::string_view::npos);
  }
  REQUIRE(Call({.target = socket}).ok());  // the refusal did not take the socket away
  server.reset();
  std::ofstream(dir.File("s.sock")).put('x');
  REQUIRE_FALSE(Server::Start({.listen = {"unix:" + std::string(200, 'x')}}, {}).ok());
  REQUIRE_FALSE(Server::Start({.listen = {}}, {}).ok());
  REQUIRE_FALSE(Server::Start({.listen = {"nonsense"}}, {}).ok());
}

TEST_CASE("Deadlines reach the server and bind the client", "[rpc]") {
  TestService service;
  auto server = StartServer(service, {.listen = {"127.0.0.1:0"}});
  weft::v1::DescribeResponse response;
  REQUIRE(Call({.target = server->addresses()[0]}, &response, 5s).ok());
  REQUIRE(std::stoi(response.worker_id()) > 3000);
  // gRPC rounds what it sends up, and converts between two clocks: a few ms more are right.
  REQUIRE(std::stoi(response.worker_id()) <= 5500);
  service.delay = 300ms;
  REQUIRE(Call({.target = server->addresses()[0]}, nullptr, 50ms).code() ==
          absl::StatusCode::kDeadlineExceeded);
  std::this_thread::sleep_for(400ms);  // the detached answer must not outlive the service
}

TEST_CASE("Drain lets a running call end and takes no new one", "[rpc]") {
  TestService service;
  service.delay = 200ms;
  auto server = StartServer(service, {.listen = {"127.0.0.1:0"}});
  const std::string address = server->addresses()[0];
  absl::Status running = Internal("never ran");
  std::thread caller([&] { running = Call({.target = address}); });
  std::this_thread::sleep_for(80ms);
  server->Drain(5s);
  caller.join();
  REQUIRE(running.ok());
  REQUIRE(Call({.target = address}, nullptr, 2s).code() == absl::StatusCode::kUnavailable);
  server->Drain(1s);
}

TEST_CASE("Mutual TLS lets in who has a certificate, and nobody else", "[rpc]") {
  const test::TempDir dir;
  test::MakeTlsFiles(dir.path());
  TestService service;
  ServerOptions options;
  options.listen = {"127.0.0.1:0"};
  options.tls = {.enabled = true,
                 .certificate_file = dir.File("server.pem"),
                 .key_file = dir.File("server.key"),
                 .ca_file = dir.File("ca.pem"),
                 .require_client_certificate = true};
  auto server = StartServer(service, options);
  ChannelOptions channel;
  channel.target = server->addresses()[0];
  REQUIRE_FALSE(Call(channel, nullptr, 2s).ok());
  channel.tls.enabled = true;
  channel.tls.ca_file = dir.File("ca.pem");
  channel.tls.server_name = "localhost";
  REQUIRE_FALSE(Call(channel, nullptr, 2s).ok());
  channel.tls.certificate_file = dir.File("client.pem");
  channel.tls.key_file = dir.File("client.key");
  const absl::Status status = Call(channel);
  INFO(ToString(status));
  REQUIRE(status.ok());
  channel.tls.server_name = "elsewhere";
  REQUIRE_FALSE(Call(channel, nullptr, 2s).ok());
}

TEST_CASE("TLS options that do not fit together are refused with the key", "[rpc]") {
  const auto fault = [](TlsOptions tls, bool server) {
    return std::string(Message(tls.Validate(server)));
  };
  REQUIRE(fault({.enabled = false, .ca_file = "x"}, true).starts_with("tls.enabled"));
  REQUIRE(fault({.enabled = true}, true).starts_with("tls.certificate_file"));
  REQUIRE(fault({.enabled = true, .key_file = "x"}, false).starts_with("tls.certificate_file"));
  REQUIRE(fault({.enabled = true,
                 .certificate_file = "x",
                 .key_file = "y",
                 .require_client_certificate = true},
                true)
              .starts_with("tls.ca_file"));
  const auto missing = ChannelCredentials({.enabled = true, .ca_file = "/nowhere/ca.pem"});
  REQUIRE(Message(missing.status()).find("/nowhere/ca.pem") != std::string_view::npos);
}

TEST_CASE("Server and channel options can be bound to a configuration", "[rpc]") {
  ServerOptions server;
  ChannelOptions channel;
  config::Schema schema;
  schema.Section("worker", "w", [&](config::Binder& b) {
    b.Section("grpc", "g", [&](config::Binder& inner) { Bind(inner, server); });
    b.Section("peer", "p", [&](config::Binder& inner) { Bind(inner, channel); });
  });
  const absl::Status status = schema.Load({.file = "f",
                                           .text = "worker: {grpc: {listen: [a:1], tls: {enabled: "
                                                   "true}}, peer: {target: b:2}}",
                                           .environment = {},
                                           .sets = {}});
  INFO(ToString(status));
  REQUIRE(status.ok());
  REQUIRE(server.listen == std::vector<std::string>{"a:1"});
  REQUIRE(server.tls.enabled);
  REQUIRE(channel.target == "b:2");
}

}  // namespace
}  // namespace weft::rpc
