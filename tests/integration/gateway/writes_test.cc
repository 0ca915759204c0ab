// Writes that are sent again, compressed answers, and the API's document.
#include <zlib.h>

#include <thread>

#include "libs/base/status.h"
#include "services/gateway/idempotency.h"
#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using namespace weft::test;
using nlohmann::json;
using weft::gateway::IdempotencyStore;

namespace {

std::string Gunzip(const std::string& bytes) {
  std::string out(1 << 22, '\0');
  z_stream stream{};
  REQUIRE(inflateInit2(&stream, 15 + 16) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  CHECK(inflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  inflateEnd(&stream);
  return out;
}

}  // namespace

TEST_CASE("A write with an Idempotency-Key is done once and answered again", "[gateway][edge]") {
  GatewayFixture f;
  const auto create = [&](const std::string& name, const std::string& key) {
    return f.Post("/v1/keys", {{"name", name}}, f.Auth() + "Idempotency-Key: " + key + "\r\n");
  };
  const auto first = create("one", "k-1");
  REQUIRE(first.status == 201);
  const auto again = create("one", "k-1");
  CHECK(again.status == 201);
  CHECK(again.body == first.body);
  CHECK(again.Header("Idempotency-Replayed") == "true");
  CHECK(again.Header("X-Request-Id") != first.Header("X-Request-Id"));
  CHECK(again.Header("Cache-Control") == "no-store");
  const auto other = create("two", "k-1");
  CHECK(other.status == 422);
  CHECK(other.body.find("idempotency_key_reused") != std::string::npos);
  CHECK(create("two", "k-2").status == 201);
  CHECK(create("x", std::string(300, 'k')).status == 400);
  const auto keys = json::parse(f.Get("/v1/keys").body)["data"];
  CHECK(keys.size() == 3);  // the admin's and two

  // Another caller's key is another key.
  const std::string secret = json::parse(first.body)["secret"];
  const auto ask = [&](const std::string& headers) {
    return f.Post("/v1/chat/completions", ChatBody("words 3"),
                  headers + "Idempotency-Key: same\r\n");
  };
  const auto mine = ask(f.Auth());
  CHECK(mine.status == 200);
  CHECK(ask(f.Auth()).body == mine.body);
  CHECK(f.schedulers[0]->stats().submits == 1);
  CHECK(ask("X-API-Key: " + secret + "\r\n").Header("Idempotency-Replayed") == "");
  CHECK(f.schedulers[0]->stats().submits == 2);
}

TEST_CASE("While the first request works its key is in use; streams and faults are not kept",
          "[gateway][edge]") {
  GatewayFixture f;
  const std::string key = "Idempotency-Key: busy\r\n";
  const auto body = ChatBody("slow 100000 5");
  RawHttp slow(f.server->http_port());
  const std::string text = body.dump();
  slow.Send("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + f.Auth() + key +
            "Content-Type: application/json\r\nContent-Length: " + std::to_string(text.size()) +
            "\r\n\r\n" + text);
  f.WaitFor([&] { return f.schedulers[0]->stats().running == 1; }, "the first request");
  const auto second = f.Post("/v1/chat/completions", body, f.Auth() + key);
  CHECK(second.status == 409);
  CHECK(second.Header("Retry-After") == "1");
  slow.Close();
  f.WaitFor([&] { return f.schedulers[0]->stats().running == 0; }, "its cancel");
  // It had no answer that could be kept: the key is free again.
  const auto fault = [&] {
    return f.Post("/v1/chat/completions", ChatBody("error 13 broken"),
                  f.Auth() + "Idempotency-Key: fault\r\n");
  };
  CHECK(fault().status == 500);
  CHECK(fault().Header("Idempotency-Replayed") == "");
  const auto stream = [&] {
    return f.Post("/v1/chat/completions", ChatBody("words 2", {{"stream", true}}),
                  f.Auth() + "Idempotency-Key: stream\r\n");
  };
  CHECK(stream().status == 200);
  const auto twice = stream();
  CHECK(twice.status == 200);
  CHECK(twice.body.find("[DONE]") != std::string::npos);
}

TEST_CASE("Kept answers are bounded in bytes and time", "[gateway][edge]") {
  weft::FakeClock clock;
  weft::gateway::IdempotencyOptions config;
  config.max_bytes = 10'000;
  config.ttl = 1h;
  const auto store = weft::gateway::NewLocalIdempotencyStore(config, clock);
  using Found = IdempotencyStore::Found;
  for (int i = 0; i < 100; ++i) {
    const std::string key = "k" + std::to_string(i);
    CHECK(store->Begin(key, "f").found == Found::kNew);
    CHECK(store->Begin(key, "f").found == Found::kInFlight);
    store->Finish(key, weft::http::Response::Text(200, std::string(1000, 'x')));
  }
  CHECK(store->Begin("k99", "f").found == Found::kAnswered);
  CHECK(store->Begin("k99", "g").found == Found::kDifferent);
  CHECK(store->Begin("k0", "f").found == Found::kNew);  // made room
  store->Abandon("k0");
  CHECK(store->Begin("k0", "g").found == Found::kNew);
  clock.Advance(2h);
  CHECK(store->Begin("k99", "g").found == Found::kNew);
}

TEST_CASE("Large answers are compressed for who takes it, secrets and streams never",
          "[gateway][edge]") {
  GatewayFixture f;
  const std::string gzip = f.Auth() + "Accept-Encoding: br, gzip;q=0.5\r\n";
  const auto plain = f.Get("/openapi.json");
  CHECK(plain.Header("Content-Encoding") == "");
  CHECK(plain.head.find("Vary: Accept-Encoding") != std::string::npos);
  const auto small = f.Get("/openapi.json", gzip);
  CHECK(small.Header("Content-Encoding") == "gzip");
  CHECK(small.body.size() < plain.body.size() / 4);
  CHECK(Gunzip(small.body) == plain.body);
  CHECK(f.Get("/openapi.json", f.Auth() + "Accept-Encoding: gzip;q=0, *\r\n").body == plain.body);
  CHECK(Gunzip(f.Get("/openapi.json", f.Auth() + "Accept-Encoding: *\r\n").body) == plain.body);
  CHECK(f.Get("/health", gzip).Header("Content-Encoding") == "");  // too small
  const auto key = f.Post("/v1/keys", {{"name", std::string(100, 'n')}}, gzip);
  CHECK(key.Header("Content-Encoding") == "");
  const auto stream =
      f.Post("/v1/chat/completions", ChatBody("words 100", {{"stream", true}}), gzip);
  CHECK(stream.Header("Content-Encoding") == "");
  CHECK(stream.body.find("[DONE]") != std::string::npos);
}

TEST_CASE("The document has every route with its errors, headers and examples, and a page",
          "[gateway][edge]") {
  GatewayFixture f;
  const json document = json::parse(f.Get("/openapi.json").body);
  CHECK(document["openapi"] == "3.1.0");
  CHECK(document["components"]["securitySchemes"].size() >= 2);
  for (const auto& [path, methods] : document["paths"].items()) {
    for (const auto& [method, operation] : methods.items()) {
      CAPTURE(path, method);
      for (const auto& [status, answer] : operation["responses"].items()) {
        CHECK(answer["headers"].contains("X-Request-Id"));
        if (status == "429") CHECK(answer["headers"].contains("Retry-After"));
      }
      if (operation.contains("requestBody")) {
        if (path == "/v1/keys" || path == "/v1/chat/completions" || path == "/generate")
          CHECK(operation["requestBody"]["content"]["application/json"].contains("examples"));
        CHECK(operation["responses"].contains("400"));
        CHECK(operation["responses"].contains("413"));
      }
    }
  }
  const auto page = f.Get("/docs");
  CHECK(page.status == 200);
  const std::string policy = page.Header("Content-Security-Policy");
  CHECK(policy.find("default-src 'none'; script-src 'sha256-") == 0);
  CHECK(policy.find("unsafe") == std::string::npos);
  // Nothing from elsewhere.
  CHECK(page.body.find("http://") == std::string::npos);
  CHECK(page.body.find("https://") == std::string::npos);
  CHECK(page.Header("X-Content-Type-Options") == "nosniff");
}
