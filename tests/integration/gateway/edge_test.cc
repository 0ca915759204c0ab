// TLS, proxies, addresses and limits of routes, on a whole gateway.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "libs/base/status.h"
#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/tls_files.h"
#include "tests/support/tls_http.h"

using namespace std::chrono_literals;
using namespace weft::test;

namespace {

std::string GetBytes(const GatewayFixture& f, std::string_view path) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n" + f.Auth() + "\r\n";
}

}  // namespace

TEST_CASE("The REST API speaks TLS and takes new certificates while it streams",
          "[gateway][edge]") {
  TempDir files;
  MakeTlsFiles(files.path());
  GatewayFixture f([&](weft::gateway::Config& config) {
    config.tls.files.enabled = true;
    config.tls.files.certificate_file = files.File("server.pem");
    config.tls.files.key_file = files.File("server.key");
    config.tls.reload_interval = 50ms;
  });
  TlsClientOptions anybody;
  TlsHttp client(f.server->http_port(), anybody);
  const std::string before = client.server_fingerprint();
  client.Send(GetBytes(f, "/v1/models"));
  const auto models = client.ReadAnswer();
  CHECK(models.status == 200);
  CHECK(models.Header("Strict-Transport-Security") == "max-age=31536000");
  CHECK(models.Header("X-Content-Type-Options") == "nosniff");
  client.Send(f.RequestBytes("/v1/chat/completions", ChatBody("slow 60 20", {{"stream", true}})));
  CHECK(client.ReadUntil("\r\n\r\n").find(" 200 ") != std::string::npos);
  TempDir next;
  MakeTlsFiles(next.path());
  for (const char* name : {"server.pem", "server.key"})
    std::filesystem::rename(next.File(name), files.File(name));
  f.WaitFor([&] { return TlsHttp(f.server->http_port(), anybody).server_fingerprint() != before; },
            "the new certificate");
  CHECK(client.ReadUntil("[DONE]").find("[DONE]") != std::string::npos);
  CHECK(f.Metric("weft_tls_reloads_total{result=\"ok\"}") >= 1);
  CHECK(f.Metric("weft_tls_certificate_not_after_seconds") > 1e9);
}

TEST_CASE("A file that TLS cannot use is an error at start that names it", "[gateway][edge]") {
  weft::gateway::TlsConfig config;
  config.files.enabled = true;
  config.files.certificate_file = "/nonexistent/tls.crt";
  config.files.key_file = "/nonexistent/tls.key";
  REQUIRE(config.Validate().ok());
  const auto made = weft::gateway::MakeTls(config);
  REQUIRE_FALSE(made.ok());
  CHECK(weft::ToString(made.status()).find("/nonexistent/tls.crt") != std::string::npos);
}

TEST_CASE("Address lists hold for the client that a trusted proxy names", "[gateway][edge]") {
  GatewayFixture f([](weft::gateway::Config& config) {
    config.edge.trusted_proxies = {"127.0.0.1/32"};
    config.edge.deny = {"192.0.2.0/24"};
    config.edge.allow = {"192.0.0.0/8", "127.0.0.1", "2001:db8::/32"};
  });
  const auto from = [&](const std::string& headers, const char* source = nullptr) {
    return HttpRequest(f.server->http_port(), "GET", "/v1/models", {}, f.Auth() + headers, source);
  };
  CHECK(from("").status == 200);
  CHECK(from("X-Forwarded-For: 192.1.2.3\r\n").status == 200);
  CHECK(from("X-Forwarded-For: [2001:db8::1]:99\r\n").status == 200);
  const auto denied = from("X-Forwarded-For: 192.1.2.3, 192.0.2.9\r\n");
  CHECK(denied.status == 403);
  CHECK(denied.body.find("address_not_allowed") != std::string::npos);
  CHECK(denied.body.find("192.0.2") == std::string::npos);
  CHECK(from("X-Forwarded-For: 203.0.113.1\r\n").status == 403);  // not in allow
  CHECK(from("X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-For: 192.1.2.3\r\n").status == 200);
  // Who is no proxy names nobody, and comes from where he comes.
  CHECK(from("X-Forwarded-For: 192.1.2.3\r\n", "127.0.0.2").status == 403);
  CHECK(f.Metric("weft_auth_failures_total{reason=\"address\"}") == 3);
  // A trusted proxy's request id goes on; anybody else's, or one that is none, does not.
  CHECK(from("X-Request-Id: edge-42\r\n").Header("X-Request-Id") == "edge-42");
  CHECK(from("X-Request-Id: a b\r\n").Header("X-Request-Id") != "a b");
  CHECK(from("X-Forwarded-For: 192.1.2.3\r\nX-Forwarded-Proto: https\r\n")
            .Header("Strict-Transport-Security") != "");
  CHECK(from("").Header("Strict-Transport-Security") == "");
}

TEST_CASE("Guesses are counted for the client, not for the proxy before it", "[gateway][edge]") {
  GatewayFixture f([](weft::gateway::Config& config) {
    config.edge.trusted_proxies = {"127.0.0.1"};
    config.failed_auth.failures_per_minute = 3;
  });
  const auto guess = [&](const std::string& client) {
    return HttpRequest(f.server->http_port(), "GET", "/v1/models", {},
                       "Authorization: Bearer weft_guess\r\nX-Forwarded-For: " + client + "\r\n")
        .status;
  };
  for (int i = 0; i < 3; ++i) CHECK(guess("192.0.2.1") == 401);
  CHECK(guess("192.0.2.1") == 429);
  CHECK(guess("1.1.1.1, 192.0.2.1") == 429);  // a longer list is not another client
  CHECK(guess("192.0.2.2") == 401);
}

TEST_CASE("A route has limits of its own", "[gateway][edge]") {
  GatewayFixture f([](weft::gateway::Config& config) {
    config.edge.routes = {
        {"POST /v1/keys",
         {.max_body_bytes = 100,
          .max_header_bytes = 2000,
          .body_timeout = 200ms,
          .max_concurrent = 0}},
        {"POST /v1/chat/completions",
         {.max_body_bytes = 0, .max_header_bytes = 0, .body_timeout = 0ms, .max_concurrent = 1}}};
  });
  CHECK(f.Post("/v1/keys", {{"name", std::string(200, 'n')}}).status == 413);
  CHECK(f.Post("/v1/keys", {{"name", "n"}}, f.Auth() + "X-Long: " + std::string(3000, 'x') + "\r\n")
            .status == 431);
  CHECK(f.Get("/v1/models", f.Auth() + "X-Long: " + std::string(3000, 'x') + "\r\n").status == 200);
  RawHttp slow(f.server->http_port());
  slow.Send("POST /v1/keys HTTP/1.1\r\nHost: x\r\n" + f.Auth() + "Content-Length: 20\r\n\r\n{");
  CHECK(slow.ReadAnswer().status == 408);

  RawHttp first(f.server->http_port());
  first.Send(
      f.RequestBytes("/v1/chat/completions", ChatBody("slow 100000 20", {{"stream", true}})));
  CHECK(first.ReadUntil("\r\n\r\n").find(" 200 ") != std::string::npos);
  const auto second = f.Post("/v1/chat/completions", ChatBody("b"));
  CHECK(second.status == 503);
  CHECK(second.Header("Retry-After") != "");
  CHECK(f.Post("/v1/completions", {{"model", "fake"}, {"prompt", "x"}, {"max_tokens", 1}}).status ==
        200);
  first.Close();
  f.WaitFor([&] { return f.Post("/v1/chat/completions", ChatBody("b")).status == 200; },
            "the route to be free");
}

TEST_CASE("The sequences of 500 readers that stall are cancelled, and others are served",
          "[gateway][edge]") {
  constexpr size_t kTotal = 16 << 20;
  constexpr size_t kReaders = 500;
  GatewayFixture f([](weft::gateway::Config& config) {
    config.http.max_total_buffered_bytes = kTotal;
    config.http.write_timeout = 60s;  // by bytes alone
  });
  std::vector<std::unique_ptr<RawHttp>> readers;
  for (size_t i = 0; i < kReaders; ++i) {
    readers.push_back(std::make_unique<RawHttp>(f.server->http_port()));
    readers.back()->SetReceiveBuffer(4096);
    // 40 tokens of 64 KiB each: 1.3 GB in all if nothing stopped them.
    readers.back()->Send(
        f.RequestBytes("/v1/chat/completions", ChatBody("big 40", {{"stream", true}})));
  }
  double most = 0;
  f.WaitFor(
      [&] {
        most = std::max(most, f.Metric("weft_http_buffered_bytes"));
        return f.Metric(
                   "http_request_duration_seconds_count{endpoint=\"/v1/chat/completions\","
                   "method=\"POST\"}") +
                       f.Metric("weft_http_streams") >=
                   kReaders &&
               f.schedulers[0]->stats().running == 0;
      },
      "every stream to be cut or its sequence to have ended", 60s);
  // A stream whose share is less than a token still holds that one.
  CHECK(most <= static_cast<double>(kTotal) + kReaders * 66e3);
  CHECK(f.Metric("weft_http_streams_stalled_total") > kReaders / 4.0);
  // Somebody who reads is served all the while.
  CHECK(f.Post("/v1/chat/completions", ChatBody("words 3")).status == 200);
}
