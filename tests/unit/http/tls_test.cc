#include "libs/http/tls.h"

#include <openssl/ssl.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "libs/base/status.h"
#include "libs/http/server.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tls_files.h"
#include "tests/support/tls_http.h"

using namespace std::chrono_literals;
using weft::http::ExchangePtr;
using weft::http::Response;
using weft::http::TlsCertificates;
using weft::http::TlsSettings;
using weft::test::RawHttp;
using weft::test::TlsClientOptions;
using weft::test::TlsHttp;

namespace {

struct TlsFixture {
  weft::test::TempDir dir;
  TlsSettings settings;
  std::shared_ptr<TlsCertificates> certificates;
  std::shared_ptr<weft::http::Router> router = std::make_shared<weft::http::Router>();
  weft::http::ServerOptions options;
  std::unique_ptr<weft::http::Server> server;

  TlsFixture() {
    weft::test::MakeTlsFiles(dir.path());
    settings.certificate_file = dir.File("server.pem");
    settings.key_file = dir.File("server.key");
    Add("GET", "/hello", [](const ExchangePtr& e) { e->Send(Response::Text(200, "hello")); });
    Add("POST", "/echo",
        [](const ExchangePtr& e) { e->Send(Response::Text(200, e->request().body)); });
    Add("GET", "/who", [](const ExchangePtr& e) {
      const auto& tls = e->request().tls;
      std::string text =
          tls->version + " " + tls->alpn + " " + tls->server_name + " " + tls->client_subject;
      for (const std::string& name : tls->client_names) text += " " + name;
      e->Send(Response::Text(200, text));
    });
    Add("GET", "/big", [](const ExchangePtr& e) {
      e->StartStream({});
      for (int i = 0; i < 30; ++i) e->Write(std::string(100'000, static_cast<char>('a' + i % 26)));
      e->End();
    });
  }
  void Add(std::string_view method, std::string_view pattern, weft::http::Handler handler) {
    REQUIRE(router->Add(method, pattern, std::move(handler)).ok());
  }
  uint16_t Start() {
    auto opened = TlsCertificates::Open(settings);
    INFO((opened.ok() ? "" : weft::ToString(opened.status())));
    REQUIRE(opened.ok());
    certificates = *std::move(opened);
    options.tls = certificates;
    auto started = weft::http::Server::Start(options, router);
    REQUIRE(started.ok());
    server = std::move(*started);
    return server->port();
  }
  TlsClientOptions Client() {
    TlsClientOptions client;
    client.ca_file = dir.File("ca.pem");
    return client;
  }
  // As `mv` does it: never half a file.
  void Exchange(const std::string& from) {
    for (const char* name : {"server.pem", "server.key", "ca.pem"})
      std::filesystem::rename(from + "/" + name, dir.File(name));
  }
};

constexpr const char* kHello = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";

}  // namespace

TEST_CASE("TLS carries requests, bodies and streams on one connection", "[http][tls]") {
  TlsFixture f;
  const uint16_t port = f.Start();
  TlsHttp client(port, f.Client());
  CHECK(client.version() == "TLSv1.3");
  for (int i = 0; i < 3; ++i) {
    client.Send(kHello);
    CHECK(client.ReadAnswer().body == "hello");
  }
  const std::string body(3'000'000, 'b');
  std::thread sender([&] {
    client.Send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + body);
  });
  sender.join();
  CHECK(client.ReadAnswer().body == body);
  client.Send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto big = client.ReadAnswer();
  CHECK(big.complete);
  CHECK(big.body.size() == 3'000'000);
  client.Send("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  CHECK(client.ReadAnswer().body == "hello");
  CHECK(client.PeerClosed(5s));
}

TEST_CASE("TLS 1.2 only by option, plain text never, and ALPN chooses HTTP/1.1", "[http][tls]") {
  TlsFixture f;
  SECTION("1.3") {
    const uint16_t port = f.Start();
    auto old = f.Client();
    old.max_version = TLS1_2_VERSION;
    CHECK_THROWS(TlsHttp(port, old));
    RawHttp plain(port);
    plain.Send(kHello);
    CHECK(plain.ReadAnswer().status == 0);
    CHECK(plain.PeerClosed(5s));
    CHECK(f.server->stats().tls_failures >= 1);
    auto other = f.Client();
    other.alpn = {"spdy/9"};
    CHECK_THROWS(TlsHttp(port, other));
    other.alpn = {"spdy/9", "http/1.1"};
    TlsHttp chosen(port, other);
    CHECK(chosen.alpn() == "http/1.1");
  }
  SECTION("1.2") {
    f.settings.allow_tls12 = true;
    const uint16_t port = f.Start();
    auto old = f.Client();
    old.max_version = TLS1_2_VERSION;
    TlsHttp client(port, old);
    CHECK(client.version() == "TLSv1.2");
    client.Send(kHello);
    CHECK(client.ReadAnswer().body == "hello");
    old.max_version = TLS1_1_VERSION;
    CHECK_THROWS(TlsHttp(port, old));
  }
}

TEST_CASE("A client certificate is verified and names the client", "[http][tls]") {
  TlsFixture f;
  f.settings.ca_file = f.dir.File("ca.pem");
  SECTION("optional") {
    TlsHttp client(f.Start(), f.Client());
    client.Send("GET /who HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(client.ReadAnswer().body == "TLSv1.3  localhost ");
  }
  SECTION("required") {
    f.settings.require_client_certificate = true;
    const uint16_t port = f.Start();
    auto with = f.Client();
    with.certificate_file = f.dir.File("client.pem");
    with.key_file = f.dir.File("client.key");
    TlsHttp client(port, with);
    client.Send("GET /who HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(client.ReadAnswer().body == "TLSv1.3  localhost CN=client DNS:localhost");
    // TLS 1.3 tells a client only after its handshake.
    TlsHttp without(port, f.Client());
    without.Send(kHello);
    CHECK(without.ReadAnswer().status == 0);
    weft::test::TempDir other;
    weft::test::MakeTlsFiles(other.path());
    with.certificate_file = other.File("client.pem");
    with.key_file = other.File("client.key");
    TlsHttp stranger(port, with);
    stranger.Send(kHello);
    CHECK(stranger.ReadAnswer().status == 0);
  }
}

TEST_CASE("Certificates are exchanged under load without a lost request", "[http][tls]") {
  TlsFixture f;
  f.options.threads = 2;
  const uint16_t port = f.Start();
  std::atomic<bool> stop{false};
  std::atomic<int> good{0}, bad{0}, fresh{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&, i] {
      const TlsClientOptions anybody;
      auto kept = std::make_unique<TlsHttp>(port, anybody);
      while (!stop) {
        if (i == 0) {  // a new handshake for each request; the others keep theirs
          kept = std::make_unique<TlsHttp>(port, anybody);
          ++fresh;
        }
        const bool answered = kept->Send(kHello) && kept->ReadAnswer().body == "hello";
        ++(answered ? good : bad);
      }
    });
  }
  TlsHttp before(port, f.Client());
  std::string last = before.server_fingerprint();
  for (int round = 0; round < 5; ++round) {
    weft::test::TempDir next;
    weft::test::MakeTlsFiles(next.path());
    f.Exchange(next.path());
    const auto reloaded = f.certificates->ReloadIfChanged();
    REQUIRE(reloaded.ok());
    CHECK(*reloaded);
    CHECK_FALSE(*f.certificates->ReloadIfChanged());
    TlsHttp now(port, f.Client());
    CHECK(now.server_fingerprint() != last);
    CHECK(now.server_fingerprint() == f.certificates->Current()->fingerprint());
    last = now.server_fingerprint();
    const int seen = fresh;
    while (fresh < seen + 5) std::this_thread::sleep_for(1ms);
  }
  before.Send(kHello);  // its session began with the first certificate
  CHECK(before.ReadAnswer().body == "hello");
  stop = true;
  for (auto& client : clients) client.join();
  CHECK(bad == 0);
  CHECK(good > 50);
}

TEST_CASE("A certificate without its key leaves the old one in use", "[http][tls]") {
  TlsFixture f;
  const uint16_t port = f.Start();
  const std::string first = f.certificates->Current()->fingerprint();
  weft::test::TempDir next;
  weft::test::MakeTlsFiles(next.path());
  std::filesystem::rename(next.File("server.pem"), f.dir.File("server.pem"));
  const auto half = f.certificates->ReloadIfChanged();
  REQUIRE_FALSE(half.ok());
  CHECK(weft::ToString(half.status()).find("server.key") != std::string::npos);
  CHECK(TlsHttp(port, f.Client()).server_fingerprint() == first);
  std::filesystem::rename(next.File("server.key"), f.dir.File("server.key"));
  CHECK(*f.certificates->ReloadIfChanged());
  CHECK(f.certificates->Current()->fingerprint() != first);
  CHECK(f.certificates->Current()->not_after() > std::time(nullptr));

  TlsSettings missing = f.settings;
  missing.key_file = f.dir.File("none.key");
  const auto error = TlsCertificates::Open(missing);
  REQUIRE_FALSE(error.ok());
  CHECK(weft::ToString(error.status()).find("none.key") != std::string::npos);
}
