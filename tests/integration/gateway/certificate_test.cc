// Mutual TLS on the gRPC listener: the names of a client's certificate say who it is.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <fstream>
#include <iterator>

#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/tls_files.h"
#include "weft/v1/admin.grpc.pb.h"
#include "weft/v1/inference.grpc.pb.h"

using weft::test::GatewayFixture;
namespace v1 = weft::v1;

namespace {

std::string Read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Tls {
  Tls() { weft::test::MakeTlsFiles(dir.path()); }
  GatewayFixture Gateway(const std::string& san, bool required) {
    return GatewayFixture([&](weft::gateway::Config& config) {
      config.grpc.tls.enabled = true;
      config.grpc.tls.certificate_file = dir.File("server.pem");
      config.grpc.tls.key_file = dir.File("server.key");
      config.grpc.tls.ca_file = dir.File("ca.pem");
      config.grpc.tls.require_client_certificate = required;
      config.grpc.tls.request_client_certificate = true;
      config.identity.certificates = {
          {.san = san, .name = "ci", .tenant = "red", .role = "developer"}};
    });
  }
  std::shared_ptr<grpc::Channel> Connect(GatewayFixture& gateway, bool with_certificate) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = Read(dir.File("ca.pem"));
    if (with_certificate) {
      options.pem_cert_chain = Read(dir.File("client.pem"));
      options.pem_private_key = Read(dir.File("client.key"));
    }
    const std::string address = gateway.server->grpc_address();
    return grpc::CreateChannel("localhost" + address.substr(address.rfind(':')),
                               grpc::SslCredentials(options));
  }
  weft::test::TempDir dir;
};

grpc::StatusCode ListModels(const std::shared_ptr<grpc::Channel>& channel,
                            const std::string& key = "") {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  if (!key.empty()) context.AddMetadata("x-api-key", key);
  v1::ListModelsResponse response;
  return v1::InferenceService::NewStub(channel)->ListModels(&context, {}, &response).error_code();
}

grpc::StatusCode ListKeys(const std::shared_ptr<grpc::Channel>& channel,
                          const std::string& key = "") {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  if (!key.empty()) context.AddMetadata("x-api-key", key);
  v1::ListKeysResponse response;
  return v1::AdminService::NewStub(channel)->ListKeys(&context, {}, &response).error_code();
}

}  // namespace

TEST_CASE("A certificate's name is an identity with a role, and a key goes before it",
          "[gateway]") {
  Tls tls;
  GatewayFixture gateway = tls.Gateway("localhost", false);
  const auto channel = tls.Connect(gateway, true);
  CHECK(ListModels(channel) == grpc::StatusCode::OK);
  CHECK(ListKeys(channel) == grpc::StatusCode::PERMISSION_DENIED);
  CHECK(ListKeys(channel, gateway.admin_key) == grpc::StatusCode::OK);
  CHECK(ListModels(channel, "weft_no") == grpc::StatusCode::UNAUTHENTICATED);
  // Without a certificate nobody is known, and a key is as good as ever.
  const auto plain = tls.Connect(gateway, false);
  CHECK(ListModels(plain) == grpc::StatusCode::UNAUTHENTICATED);
  CHECK(ListModels(plain, gateway.admin_key) == grpc::StatusCode::OK);
}

TEST_CASE("A certificate whose names are nobody's gives nothing", "[gateway]") {
  Tls tls;
  GatewayFixture gateway = tls.Gateway("spiffe://mesh/ci", true);
  CHECK(ListModels(tls.Connect(gateway, true)) == grpc::StatusCode::UNAUTHENTICATED);
  CHECK(ListModels(tls.Connect(gateway, false), gateway.admin_key) ==
        grpc::StatusCode::UNAVAILABLE);
}
