// The public gRPC API over a fake scheduler.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "libs/base/error_info.h"
#include "libs/identity/api_key.h"
#include "libs/rpc/status.h"
#include "libs/store/sqlite.h"
#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"
#include "weft/v1/admin.grpc.pb.h"
#include "weft/v1/inference.grpc.pb.h"

using weft::test::GatewayFixture;
namespace v1 = weft::v1;

namespace {

struct Api {
  explicit Api(GatewayFixture& f)
      : channel(grpc::CreateChannel(f.server->grpc_address(), grpc::InsecureChannelCredentials())),
        stub(v1::InferenceService::NewStub(channel)),
        admin(v1::AdminService::NewStub(channel)),
        key(f.admin_key) {}
  std::unique_ptr<grpc::ClientContext> Context() {
    auto context = std::make_unique<grpc::ClientContext>();
    context->AddMetadata("authorization", "Bearer " + key);
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return context;
  }
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::InferenceService::Stub> stub;
  std::unique_ptr<v1::AdminService::Stub> admin;
  std::string key;
};

v1::GenerateRequest Request(const std::string& prompt) {
  v1::GenerateRequest request;
  request.set_model("fake");
  request.set_prompt(prompt);
  return request;
}

}  // namespace

TEST_CASE("gRPC Generate streams text and ends with reason and usage", "[gateway]") {
  GatewayFixture f;
  Api api(f);
  auto context = api.Context();
  auto reader = api.stub->Generate(context.get(), Request("words 3"));
  std::vector<v1::GenerateResponse> answers;
  for (v1::GenerateResponse answer; reader->Read(&answer);) answers.push_back(answer);
  REQUIRE(reader->Finish().ok());
  REQUIRE(answers.size() == 5);
  CHECK(answers[0].request_id().size() == 36);
  CHECK(answers[0].model() == "fake");
  CHECK(answers[1].text() + answers[2].text() + answers[3].text() == "w0 w1 w2");
  CHECK(answers[1].token_ids(0) == 1000);
  CHECK(answers[4].finish_reason() == v1::FINISH_REASON_STOP);
  CHECK(answers[4].usage().completion_tokens() == 3);
}

TEST_CASE("gRPC errors have REST's meaning: code, field, retry time, no internals", "[gateway]") {
  GatewayFixture f;
  Api api(f);
  const auto fail = [&](const v1::GenerateRequest& request, grpc::ClientContext* context) {
    auto reader = api.stub->Generate(context, request);
    v1::GenerateResponse answer;
    while (reader->Read(&answer)) {
    }
    return reader->Finish();
  };
  grpc::ClientContext nobody;
  CHECK(fail(Request("x"), &nobody).error_code() == grpc::StatusCode::UNAUTHENTICATED);
  auto context = api.Context();
  CHECK(fail(Request("error 13 at /var/lib"), context.get()).error_message().find("/var") ==
        std::string::npos);
  context = api.Context();
  const grpc::Status full = fail(Request("error 8 queue"), context.get());
  CHECK(full.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  CHECK(weft::RetryAfterOf(weft::rpc::FromGrpcStatus(full)) == std::chrono::seconds(3));
  const auto& trailers = context->GetServerTrailingMetadata();
  REQUIRE(trailers.find("retry-after") != trailers.end());
  v1::GenerateRequest empty;
  empty.set_model("fake");
  context = api.Context();
  CHECK(weft::FieldOf(weft::rpc::FromGrpcStatus(fail(empty, context.get()))) == "input");
  v1::GenerateRequest unknown = Request("x");
  unknown.set_model("none");
  context = api.Context();
  CHECK(fail(unknown, context.get()).error_code() == grpc::StatusCode::NOT_FOUND);
}

TEST_CASE("Guessing keys over gRPC and REST counts together", "[gateway]") {
  GatewayFixture f([](auto& config) { config.failed_auth.failures_per_minute = 3; });
  Api api(f);
  const auto guess = [&](grpc::ClientContext& context) {
    context.AddMetadata("x-api-key", "weft_nope");
    v1::ListModelsResponse response;
    return api.stub->ListModels(&context, {}, &response);
  };
  for (int i = 0; i < 2; ++i) {
    grpc::ClientContext context;
    CHECK(guess(context).error_code() == grpc::StatusCode::UNAUTHENTICATED);
    CHECK(context.GetServerTrailingMetadata().count("ratelimit") == 1);
  }
  CHECK(f.Get("/v1/models", "X-API-Key: weft_nope\r\n").status == 401);
  grpc::ClientContext context;
  const grpc::Status refused = guess(context);
  CHECK(refused.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  CHECK(weft::RetryAfterOf(weft::rpc::FromGrpcStatus(refused)) > std::chrono::seconds(1));
  CHECK(context.GetServerTrailingMetadata().count("retry-after") == 1);
  CHECK(f.Get("/v1/models", "X-API-Key: weft_nope\r\n").status == 429);
}

TEST_CASE("A key's rate limit holds over gRPC and REST together, with a time to come back",
          "[gateway]") {
  GatewayFixture f;
  Api api(f);
  v1::CreateKeyRequest create;
  create.set_name("two a minute");
  create.set_requests_per_minute(2);
  v1::CreateKeyResponse created;
  REQUIRE(api.admin->CreateKey(api.Context().get(), create, &created).ok());
  api.key = created.secret();
  v1::ListModelsResponse models;
  grpc::Status status;
  for (int i = 0; i < 3 && status.ok(); ++i) {
    auto context = api.Context();
    status = api.stub->ListModels(context.get(), {}, &models);
    if (status.ok()) continue;
    CHECK(i == 2);
    CHECK(status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
    const auto& trailing = context->GetServerTrailingMetadata();
    REQUIRE(trailing.count("retry-after") == 1);
    CHECK(std::stoi(std::string(trailing.find("retry-after")->second.data(),
                                trailing.find("retry-after")->second.size())) >= 1);
  }
  CHECK_FALSE(status.ok());
  auto generate = api.Context();
  auto reader = api.stub->Generate(generate.get(), Request("words 3"));
  v1::GenerateResponse answer;
  CHECK_FALSE(reader->Read(&answer));
  CHECK(reader->Finish().error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_CASE("A gRPC client that cancels frees its sequence", "[gateway]") {
  GatewayFixture f;
  Api api(f);
  auto context = api.Context();
  v1::GenerateRequest request = Request("slow 100000 5");
  request.mutable_sampling()->set_max_tokens(100000);
  auto reader = api.stub->Generate(context.get(), request);
  v1::GenerateResponse answer;
  REQUIRE(reader->Read(&answer));
  context->TryCancel();
  f.WaitFor([&] { return f.schedulers[0]->stats().running == 0; }, "the cancel");
  while (reader->Read(&answer)) {
  }
  CHECK(reader->Finish().error_code() == grpc::StatusCode::CANCELLED);
}

TEST_CASE("gRPC serves models, tokens and keys to those who may", "[gateway]") {
  GatewayFixture f;
  Api api(f);
  v1::ListModelsResponse models;
  REQUIRE(api.stub->ListModels(api.Context().get(), {}, &models).ok());
  CHECK(models.models(0).id() == "fake");
  v1::TokenizeRequest tokenize;
  tokenize.set_model("fake");
  tokenize.set_text("abc");
  v1::TokenizeResponse tokens;
  REQUIRE(api.stub->Tokenize(api.Context().get(), tokenize, &tokens).ok());
  CHECK(tokens.token_ids_size() == 3);
  v1::CreateKeyRequest create;
  create.set_name("grpc");
  create.set_max_priority("high");
  v1::CreateKeyResponse created;
  REQUIRE(api.admin->CreateKey(api.Context().get(), create, &created).ok());
  CHECK(created.key().role() == "developer");
  CHECK(created.key().requests_per_minute() == 100);  // of the environment dev
  CHECK(created.key().max_priority() == "high");
  const std::string admin_key = std::exchange(api.key, created.secret());
  v1::ListKeysResponse keys;
  CHECK(api.admin->ListKeys(api.Context().get(), {}, &keys).error_code() ==
        grpc::StatusCode::PERMISSION_DENIED);
  api.key = admin_key;
  REQUIRE(api.admin->ListKeys(api.Context().get(), {}, &keys).ok());
  CHECK(keys.keys_size() == 2);
  v1::RevokeKeyRequest revoke;
  revoke.set_id(created.key().id());
  v1::RevokeKeyResponse revoked;
  REQUIRE(api.admin->RevokeKey(api.Context().get(), revoke, &revoked).ok());
  api.key = created.secret();
  CHECK(api.stub->ListModels(api.Context().get(), {}, &models).error_code() ==
        grpc::StatusCode::UNAUTHENTICATED);
}

TEST_CASE("A key database that fails is a 503 that does not name the file", "[gateway]") {
  GatewayFixture f;
  Api api(f);
  {
    const auto other = weft::store::SqliteConnection::Open(f.config.database);
    REQUIRE(other.ok());
    REQUIRE((*other)->Execute("DROP TABLE api_keys").ok());
  }
  const auto check = [](const grpc::Status& status) {
    CHECK(status.error_code() == grpc::StatusCode::UNAVAILABLE);
    CHECK(status.error_message().find("table") == std::string::npos);
    CHECK(status.error_message().find(".db") == std::string::npos);
  };
  v1::CreateKeyRequest create;
  create.set_name("x");
  v1::CreateKeyResponse created;
  check(api.admin->CreateKey(api.Context().get(), create, &created));
  grpc::ClientContext stranger;  // its key looks right, so the store is asked
  stranger.AddMetadata("x-api-key", weft::identity::NewApiKey("").text);
  v1::ListModelsResponse models;
  check(api.stub->ListModels(&stranger, {}, &models));
}
