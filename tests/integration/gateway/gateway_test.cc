// The REST API with real sockets over a fake scheduler.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"
#include "weft/v1/scheduler.pb.h"

using namespace std::chrono_literals;
using nlohmann::json;
using weft::test::ChatBody;
using weft::test::Events;
using weft::test::GatewayFixture;
using weft::test::HttpRequest;
using weft::test::RawHttp;

namespace {

json ErrorOf(const RawHttp::Answer& answer, int status) {
  CAPTURE(answer.body);
  REQUIRE(answer.status == status);
  const json error = json::parse(answer.body)["error"];
  for (const char* member : {"message", "type", "param", "code"}) REQUIRE(error.contains(member));
  CHECK(answer.Header("X-Request-Id").size() == 36);
  return error;
}

std::string Joined(const std::vector<json>& events) {
  std::string text;
  for (const json& event : events) {
    if (!event.is_object() || !event.contains("choices") || event["choices"].empty()) continue;
    const json& choice = event["choices"][0];
    if (choice.contains("delta")) text += choice["delta"].value("content", "");
    if (choice.contains("text")) text += choice["text"].get<std::string>();
  }
  return text;
}

}  // namespace

TEST_CASE("A whole chat answer has text, reason and usage", "[gateway]") {
  GatewayFixture f;
  const auto answer = f.Post("/v1/chat/completions", ChatBody("words 3"));
  REQUIRE(answer.status == 200);
  const json body = json::parse(answer.body);
  CHECK(body["object"] == "chat.completion");
  CHECK(body["id"].get<std::string>().rfind("chatcmpl-", 0) == 0);
  CHECK(body["choices"][0]["message"]["content"] == "w0 w1 w2");
  CHECK(body["choices"][0]["finish_reason"] == "stop");
  CHECK(body["usage"]["prompt_tokens"] == 7);
  CHECK(body["usage"]["total_tokens"] == 10);
  CHECK(body["system_fingerprint"] == "fp_0123456789ab");
  CHECK(json::parse(f.Post("/v1/chat/completions", ChatBody("words 9", {{"max_tokens", 2}}))
                        .body)["choices"][0]["finish_reason"] == "length");
}

TEST_CASE("A chat stream has OpenAI's chunks: role, text, reason, usage, DONE", "[gateway]") {
  GatewayFixture f;
  const auto answer = f.Post(
      "/v1/chat/completions",
      ChatBody("words 3", {{"stream", true}, {"stream_options", {{"include_usage", true}}}}));
  REQUIRE(answer.status == 200);
  CHECK(answer.Header("Content-Type") == "text/event-stream; charset=utf-8");
  const auto events = Events(answer.body);
  REQUIRE(events.size() == 7);
  CHECK(events[0]["choices"][0]["delta"]["role"] == "assistant");
  CHECK(Joined(events) == "w0 w1 w2");
  for (size_t i = 0; i < 5; ++i) {
    CHECK(events[i]["id"] == events[0]["id"]);
    CHECK(events[i]["usage"].is_null());
  }
  CHECK(events[4]["choices"][0]["finish_reason"] == "stop");
  CHECK(events[5]["choices"].empty());
  CHECK(events[5]["usage"]["completion_tokens"] == 3);
  CHECK(events[6] == "[DONE]");
}

TEST_CASE("Several choices are numbered, and completions carry log probabilities and echo",
          "[gateway]") {
  GatewayFixture f;
  const json whole =
      json::parse(f.Post("/v1/completions",
                         {{"model", "fake"}, {"prompt", "words 2"}, {"n", 3}, {"logprobs", 2}})
                      .body);
  REQUIRE(whole["choices"].size() == 3);
  CHECK(whole["choices"][2]["index"] == 2);
  CHECK(whole["choices"][1]["logprobs"]["tokens"] == json{"w0", " w1"});
  CHECK(whole["choices"][1]["logprobs"]["text_offset"] == json{7, 9});
  CHECK(whole["choices"][1]["logprobs"]["top_logprobs"][0].size() == 2);
  CHECK(whole["usage"]["completion_tokens"] == 6);
  CHECK(whole["usage"]["prompt_tokens"] == 7);
  const json echoed = json::parse(
      f.Post("/v1/completions", {{"model", "fake"}, {"prompt", "words 2"}, {"echo", true}}).body);
  CHECK(echoed["choices"][0]["text"] == "words 2w0 w1");
  const auto events =
      Events(f.Post("/v1/completions",
                    {{"model", "fake"}, {"prompt", "words 2"}, {"n", 2}, {"stream", true}})
                 .body);
  int finished = 0;
  for (const json& event : events) {
    if (event.is_object() && !event["choices"][0]["finish_reason"].is_null()) ++finished;
  }
  CHECK(finished == 2);
}

TEST_CASE("What the scheduler gets is what the client asked for", "[gateway]") {
  GatewayFixture f;
  f.Post("/v1/chat/completions",
         ChatBody("words 1", {{"temperature", 0.5}, {"stop", "END"}, {"seed", 9}}));
  weft::v1::Submit submit;
  REQUIRE(submit.ParseFromString(f.schedulers[0]->submits().at(0)));
  CHECK(submit.sampling().temperature() == 0.5F);
  CHECK(submit.sampling().seed() == 9);
  CHECK(submit.stop(0) == "END");
  CHECK(submit.share_key() == "default");
  CHECK(submit.request_id().size() == 36);
  CHECK(submit.timeout().seconds() == 600);
}

TEST_CASE("An answer names the service tier it had, when one was asked for", "[gateway]") {
  GatewayFixture f;
  const auto ask = [&](const json& more) {
    return json::parse(f.Post("/v1/chat/completions", ChatBody("words 1", more)).body);
  };
  CHECK(ask({{"service_tier", "auto"}})["service_tier"] == "default");
  CHECK(ask({{"service_tier", "default"}})["service_tier"] == "default");
  CHECK(ask({{"service_tier", "flex"}})["service_tier"] == "flex");
  CHECK(ask({{"service_tier", "fast"}})["service_tier"] == "priority");  // as an admin
  CHECK_FALSE(ask(json::object()).contains("service_tier"));
  const auto events =
      Events(f.Post("/v1/chat/completions",
                    ChatBody("words 1", {{"service_tier", "auto"}, {"stream", true}}))
                 .body);
  for (size_t i = 0; i + 1 < events.size(); ++i) CHECK(events[i]["service_tier"] == "default");
}

TEST_CASE("A model that idles without workers is 503 until it has some, and is counted",
          "[gateway]") {
  GatewayFixture f([](weft::gateway::Config& config) { config.idle_models = {"asleep"}; });
  const std::string series =
      R"(prediction_errors_total{error_type="model_starting",model_id="asleep"} )";
  // Before the first request: an increase from nothing is none.
  CHECK(f.Get("/metrics").body.find(series + "0") != std::string::npos);
  const auto answer = f.Post("/v1/chat/completions", ChatBody("words 1", {{"model", "asleep"}}));
  CHECK(ErrorOf(answer, 503)["code"] == "model_starting");
  CHECK(answer.Header("Retry-After") == "10");
  CHECK(f.Get("/metrics").body.find(series + "1") != std::string::npos);
  CHECK(ErrorOf(f.Post("/v1/chat/completions", ChatBody("words 1", {{"model", "none"}})),
                404)["code"] == "model_not_found");
}

TEST_CASE("Errors before the first token are statuses, after it events", "[gateway]") {
  GatewayFixture f;
  CHECK(ErrorOf(f.Post("/v1/chat/completions", ChatBody("words 1", {{"model", "none"}})),
                404)["code"] == "model_not_found");
  const auto full =
      f.Post("/v1/chat/completions", ChatBody("error 8 the queue is full", {{"stream", true}}));
  CHECK(ErrorOf(full, 429)["code"] == "queue_full");
  CHECK(full.Header("Retry-After") == "3");
  CHECK(ErrorOf(f.Post("/v1/chat/completions", ChatBody("error 14 no worker")), 503)["type"] ==
        "server_error");
  const json internal =
      ErrorOf(f.Post("/v1/chat/completions", ChatBody("error 13 at /var/lib/x.cc:7")), 500);
  CHECK(internal["message"].get<std::string>().find("/var") == std::string::npos);
  CHECK(ErrorOf(
            f.Post("/v1/chat/completions",
                   ChatBody("error 3 messages: has 9 tokens; the context of model x is 8 tokens")),
            400)["code"] == "context_length_exceeded");
  const auto cut = f.Post("/v1/chat/completions", ChatBody("late 13 2", {{"stream", true}}));
  REQUIRE(cut.status == 200);
  const auto events = Events(cut.body);
  CHECK(Joined(events) == "w0 w1");
  REQUIRE(events.back().contains("error"));
  CHECK(events.back()["error"]["code"] == "internal_error");
  CHECK(events.back().dump().find("/var/lib") == std::string::npos);
  ErrorOf(f.Post("/v1/chat/completions", ChatBody("late 13 2")), 500);
}

TEST_CASE("Bad input is a 400 or 413 that names what is wrong", "[gateway]") {
  GatewayFixture f;
  CHECK(ErrorOf(f.Post("/v1/chat/completions", ChatBody("x", {{"max_tokens", -1}})),
                400)["param"] == "max_tokens");
  for (const std::string& body :
       {std::string(), std::string("{"), std::string("[]"), std::string("{\"model\":\"\xff\"}"),
        std::string("{\"model\":\"a\",\"model\":\"b\"}"), std::string(500'000, '['),
        std::string("nul")}) {
    ErrorOf(f.PostRaw("/v1/chat/completions", body), 400);
  }
  CHECK(ErrorOf(f.PostRaw("/v1/completions", "{\"model\":\"a\",\"model\":\"b\"}"), 400)["message"]
            .get<std::string>()
            .find("\"model\" is there twice") != std::string::npos);
  ErrorOf(f.Post("/v1/chat/completions", ChatBody(std::string(10'000'000, 'x'))), 413);
  CHECK(ErrorOf(f.Post("/v1/chat/completions", ChatBody(std::string(500'000, 'x'))),
                400)["param"] == "messages");
  CHECK(ErrorOf(f.Get("/v1/nothing"), 404)["type"] == "invalid_request_error");
  CHECK(f.Get("/v1/chat/completions").Header("Allow") == "POST");
  CHECK(
      f.Post("/v1/chat/completions", ChatBody("words 1"), f.Auth() + "traceparent: 00-zz-yy-01\r\n")
          .status == 200);
}

TEST_CASE("A key is made, listed without its secret, and ends when it is revoked", "[gateway]") {
  GatewayFixture f;
  const auto created = f.Post("/v1/keys", {{"name", "ci"}, {"requests_per_minute", 100}});
  REQUIRE(created.status == 201);
  const json key = json::parse(created.body);
  const std::string header = "Authorization: Bearer " + key["secret"].get<std::string>() + "\r\n";
  CHECK(f.Get("/v1/models", header).status == 200);
  const std::string list = f.Get("/v1/keys").body;
  CHECK(list.find(key["id"].get<std::string>()) != std::string::npos);
  CHECK(list.find(key["secret"].get<std::string>()) == std::string::npos);
  CHECK(HttpRequest(f.server->http_port(), "DELETE", "/v1/keys/" + key["id"].get<std::string>(), {},
                    f.Auth())
            .status == 200);
  ErrorOf(f.Get("/v1/models", header), 401);
  ErrorOf(HttpRequest(f.server->http_port(), "DELETE", "/v1/keys/none", {}, f.Auth()), 404);
  CHECK(ErrorOf(f.Post("/v1/keys", {{"name", "x"}, {"role", "king"}}), 400)["param"] == "role");
  f.server.reset();
  f.telemetry->Shutdown(1s);
  std::ifstream log(f.dir.File("gateway.log"));
  const std::string text(std::istreambuf_iterator<char>(log), {});
  CHECK(text.find(key["secret"].get<std::string>().substr(18)) == std::string::npos);
  CHECK(text.find(f.admin_key.substr(18)) == std::string::npos);
}

TEST_CASE("A key may ask for no more priority than it was made with", "[gateway]") {
  GatewayFixture f;
  const auto ask = [&](const json& key, const json& priority) {
    const auto made = json::parse(f.Post("/v1/keys", key).body);
    json body = {{"model", "fake"}, {"prompt", "hi"}, {"max_tokens", 1}, {"priority", priority}};
    return f.Post("/v1/completions", body,
                  "Authorization: Bearer " + made["secret"].get<std::string>() + "\r\n");
  };
  const auto refused = ask({{"name", "slow"}, {"max_priority", "low"}}, "normal");
  CHECK(ErrorOf(refused, 403)["param"] == "priority");
  CHECK(ask({{"name", "slow"}, {"max_priority", "low"}}, "low").status == 200);
  CHECK(ask({{"name", "slow"}, {"max_priority", "low"}}, nullptr).status == 200);
  CHECK(ErrorOf(ask({{"name", "any"}}, "high"), 403)["param"] == "priority");
  CHECK(ask({{"name", "fast"}, {"max_priority", "high"}}, "high").status == 200);
  const json list = json::parse(f.Get("/v1/keys").body)["data"];
  CHECK(std::count_if(list.begin(), list.end(),
                      [](const json& key) { return key["max_priority"] == "low"; }) == 3);
  CHECK(ErrorOf(f.Post("/v1/keys", {{"name", "x"}, {"max_priority", "urgent"}}), 400)["param"] ==
        "max_priority");
}

TEST_CASE("A key's rate limit ends in 429 with the time to come back", "[gateway]") {
  GatewayFixture f;
  const json key =
      json::parse(f.Post("/v1/keys", {{"name", "slow"}, {"requests_per_minute", 3}}).body);
  const std::string header = "X-API-Key: " + key["secret"].get<std::string>() + "\r\n";
  for (int i = 0; i < 3; ++i) {
    const auto answer = f.Get("/v1/models", header);
    REQUIRE(answer.status == 200);
    CHECK(answer.Header("RateLimit").find("r=" + std::to_string(2 - i)) != std::string::npos);
    CHECK(answer.Header("RateLimit-Policy") == "\"key-requests\";q=3;w=60");
  }
  const auto limited = f.Post("/generate", {{"prompt", "x"}}, header);
  CHECK(ErrorOf(limited, 429)["code"] == "rate_limit_exceeded");
  CHECK(json::parse(limited.body)["detail"] == "Rate limit exceeded");
  CHECK(std::stoi(limited.Header("Retry-After")) >= 1);
  CHECK(f.Get("/health", header).status == 200);
  CHECK(f.Metric("weft_rate_limited_total") == 1);
}

TEST_CASE("Guessing keys ends in 429 for the address that guesses, not for others", "[gateway]") {
  GatewayFixture f([](auto& config) { config.failed_auth.failures_per_minute = 3; });
  const std::string bad = "Authorization: Bearer weft_nope\r\n";
  for (int i = 0; i < 3; ++i) {
    const auto answer = f.Get("/v1/models", bad);
    CHECK(ErrorOf(answer, 401)["code"] == "invalid_api_key");
    CHECK(answer.Header("RateLimit-Policy") == "\"failed-auth\";q=3;w=60");
    CHECK(answer.Header("RateLimit").find("r=" + std::to_string(2 - i)) != std::string::npos);
  }
  const auto limited = f.Get("/v1/models", bad);
  CHECK(ErrorOf(limited, 429)["code"] == "too_many_failed_authentications");
  CHECK(std::stoi(limited.Header("Retry-After")) >= 1);
  CHECK(limited.Header("x-ratelimit-limit-requests").empty());
  CHECK(f.Metric("weft_auth_failures_total{reason=\"throttled\"}") == 1);
  const auto from_elsewhere = [&](const std::string& headers) {
    return HttpRequest(f.server->http_port(), "GET", "/v1/models", {}, headers, "127.0.0.2").status;
  };
  CHECK(from_elsewhere(f.Auth()) == 200);
  CHECK(from_elsewhere(bad) == 401);
  CHECK(f.Get("/v1/models").status == 200);  // the key was good a moment ago
  CHECK(f.Get("/health", bad).status == 200);
}

TEST_CASE("/generate, /predict, models and health answer as the requirements say", "[gateway]") {
  GatewayFixture f;
  const json code =
      json::parse(f.Post("/generate", {{"prompt", "words 4"}, {"language", "Python"}}).body);
  CHECK(code["generated_code"] == "w0 w1 w2 w3");
  CHECK(code["tokens_generated"] == 4);
  CHECK(code["generation_time_ms"].get<double>() > 0);
  CHECK(code["model_version"] == "0123456789ab");
  const json prediction = json::parse(f.Post("/predict", {{"input", "words 2"}}).body);
  CHECK(prediction["prediction"] == "w0 w1");
  CHECK(prediction["request_id"].get<std::string>().size() == 36);
  CHECK(json::parse(f.Get("/models/default").body)["id"] == "fake");
  CHECK(json::parse(f.Get("/v1/models").body)["data"][0]["id"] == "fake");
  ErrorOf(f.Get("/v1/models/none"), 404);
  CHECK(f.Get("/health", "X-A: b\r\n").body == R"({"status":"healthy","model_loaded":true})");
  CHECK(f.Get("/ready", "X-A: b\r\n").status == 200);
  const json api = json::parse(f.Get("/api/health", "X-A: b\r\n").body);
  CHECK(api.size() == 3);
  CHECK(f.Metric("code_gen_requests_total{language=\"python\",status=\"success\"}") == 1);
  CHECK(
      f.Metric("http_requests_total{endpoint=\"/v1/models/{id}\",method=\"GET\",status=\"404\"}") ==
      1);
  CHECK(f.Metric("active_requests") == 0);
}

TEST_CASE("A client that goes away cancels every sequence of its request", "[gateway]") {
  GatewayFixture f;
  const bool stream = GENERATE(true, false);
  RawHttp client(f.server->http_port());
  client.Send(f.RequestBytes("/v1/chat/completions",
                             ChatBody("slow 100000 5", {{"n", 2}, {"stream", stream}})));
  f.WaitFor([&] { return f.schedulers[0]->stats().running == 2; }, "both sequences");
  SECTION("closes") { client.Close(); }
  SECTION("resets") { client.Reset(); }
  SECTION("half-closes") { client.ShutdownSend(); }
  f.WaitFor([&] { return f.schedulers[0]->stats().running == 0; }, "the cancels");
  CHECK(f.schedulers[0]->stats().cancels == 2);
  f.WaitFor([&] { return f.Metric("active_requests") == 0; }, "the generation's end");
}

TEST_CASE("A half-closed client of a long request is told that it was cancelled", "[gateway]") {
  GatewayFixture f;
  RawHttp client(f.server->http_port());
  client.Send(f.RequestBytes("/v1/chat/completions", ChatBody("slow 1000 5")));
  f.WaitFor([&] { return f.schedulers[0]->stats().running == 1; }, "the sequence");
  client.ShutdownSend();
  CHECK(ErrorOf(client.ReadAnswer(), 499)["code"] == "request_cancelled");
}

TEST_CASE("A reader that stalls is cut off and its sequence cancelled", "[gateway]") {
  GatewayFixture f([](weft::gateway::Config& c) {
    c.http.max_buffered_bytes = 65536;
    c.http.write_timeout = 500ms;
  });
  RawHttp client(f.server->http_port());
  client.SetReceiveBuffer(4096);
  client.Send(f.RequestBytes("/v1/chat/completions", ChatBody("big 2000", {{"stream", true}})));
  f.WaitFor([&] { return f.schedulers[0]->stats().cancels == 1; }, "the cancel");
  CHECK(f.Metric("weft_requests_cancelled_total{reason=\"stalled\"}") == 1);
}

TEST_CASE("A sequence whose scheduler is lost goes on at another one without a seam", "[gateway]") {
  GatewayFixture f({}, 2);
  RawHttp client(f.server->http_port());
  client.Send(f.RequestBytes("/v1/chat/completions", ChatBody("slow 60 5", {{"stream", true}})));
  client.ReadUntil(" w5");
  const size_t with = f.schedulers[0]->stats().running == 1 ? 0 : 1;
  f.schedulers[with]->Break();
  const std::string rest = client.ReadUntil("[DONE]");
  std::string expected;
  for (int i = 6; i < 60; ++i) {
    const std::string word = "\" w" + std::to_string(i) + "\"";
    CAPTURE(word);
    const size_t first = rest.find(word);
    REQUIRE(first != std::string::npos);
    CHECK(rest.find(word, first + 1) == std::string::npos);
  }
  CHECK(f.schedulers[1 - with]->stats().resumes + f.schedulers[with]->stats().resumes == 1);
  CHECK(f.Metric("weft_gateway_sequences_resumed_total") == 1);
}

TEST_CASE("A lost scheduler that is alone is waited for, and its absence is a clear 503",
          "[gateway]") {
  GatewayFixture f([](weft::gateway::Config& c) { c.scheduler_wait = 1s; });
  RawHttp client(f.server->http_port());
  client.Send(f.RequestBytes("/v1/chat/completions", ChatBody("slow 40 5", {{"stream", true}})));
  client.ReadUntil(" w3");
  f.schedulers[0]->Break();
  CHECK(client.ReadUntil("[DONE]").find("\" w39\"") != std::string::npos);
  f.schedulers.clear();
  f.WaitFor([&] { return f.Get("/ready").status == 503; }, "not ready");
  const auto answer = f.Post("/v1/chat/completions", ChatBody("words 1"));
  ErrorOf(answer, 503);
  CHECK_FALSE(answer.Header("Retry-After").empty());
}

TEST_CASE("A scheduler that greets twice is cut off, and its streams go on", "[gateway]") {
  GatewayFixture f;
  RawHttp client(f.server->http_port());
  client.Send(f.RequestBytes("/v1/chat/completions", ChatBody("slow 60 5", {{"stream", true}})));
  client.ReadUntil(" w5");
  f.schedulers[0]->GreetAgain();
  const std::string rest = client.ReadUntil("[DONE]");
  for (int i = 6; i < 60; ++i) {
    const std::string word = "\" w" + std::to_string(i) + "\"";
    CAPTURE(word);
    const size_t first = rest.find(word);
    REQUIRE(first != std::string::npos);
    CHECK(rest.find(word, first + 1) == std::string::npos);
  }
  CHECK(f.schedulers[0]->stats().resumes == 1);  // in a new session
}

TEST_CASE("A request that comes while the only scheduler drains waits for its return",
          "[gateway]") {
  GatewayFixture f([](weft::gateway::Config& c) { c.scheduler_wait = 30s; });
  f.schedulers[0]->Drain();
  RawHttp client(f.server->http_port());
  client.Send(f.RequestBytes("/v1/chat/completions", ChatBody("words 3", {{"stream", true}})));
  f.WaitFor([&] { return f.Metric("weft_gateway_sequences") == 1; }, "the request");
  CHECK(f.schedulers[0]->stats().running == 0);
  f.schedulers[0]->Break();  // it ends, and is there again
  CHECK(client.ReadUntil("[DONE]").find("\" w2\"") != std::string::npos);
}

TEST_CASE("Slow heads do not hold others up, and CORS is off unless configured", "[gateway]") {
  GatewayFixture f([](weft::gateway::Config& c) {
    c.http.header_timeout = 300ms;
    c.cors.allowed_origins = {"https://a.example"};
  });
  RawHttp slow(f.server->http_port());
  slow.Send("POST /v1/chat");
  CHECK(f.Get("/health").status == 200);
  CHECK(slow.ReadAnswer(5s).status == 408);
  const auto allowed = f.Get("/health", "Origin: https://a.example\r\n");
  CHECK(allowed.Header("Access-Control-Allow-Origin") == "https://a.example");
  CHECK(f.Get("/health", "Origin: https://b.example\r\n")
            .Header("Access-Control-Allow-Origin")
            .empty());
  const auto preflight =
      HttpRequest(f.server->http_port(), "OPTIONS", "/v1/chat/completions", {},
                  "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n");
  CHECK(preflight.status == 204);
  GatewayFixture off;
  CHECK(off.Get("/health", "Origin: https://a.example\r\n")
            .Header("Access-Control-Allow-Origin")
            .empty());
}

TEST_CASE("Drain lets a stream end and refuses new connections", "[gateway]") {
  GatewayFixture f;
  RawHttp client(f.server->http_port());
  client.Send(f.RequestBytes("/v1/chat/completions", ChatBody("slow 40 5", {{"stream", true}})));
  client.ReadUntil(" w1");
  const uint16_t port = f.server->http_port();
  std::thread drain([&] { f.server->Drain(10s); });
  CHECK(client.ReadUntil("[DONE]").find("\" w39\"") != std::string::npos);
  drain.join();
  CHECK_THROWS(RawHttp(port));
}

TEST_CASE("A damaged key database is an error at start that names the file", "[gateway]") {
  GatewayFixture f;
  weft::gateway::Config config = f.config;
  config.database = f.dir.File("broken.db");
  std::ofstream(config.database) << std::string(5000, 'x');
  const auto made = weft::gateway::GatewayServer::Start(config, *f.telemetry);
  REQUIRE_FALSE(made.ok());
  CHECK(made.status().ToString().find("broken.db") != std::string::npos);
}
