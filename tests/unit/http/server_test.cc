#include "libs/http/server.h"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <future>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "libs/base/status.h"
#include "libs/http/admin_server.h"
#include "tests/support/catch.h"
#include "tests/support/raw_http.h"

using namespace std::chrono_literals;
using weft::http::CloseReason;
using weft::http::ExchangePtr;
using weft::http::Response;
using weft::http::Router;
using weft::http::Server;
using weft::http::ServerHooks;
using weft::http::ServerOptions;
using weft::test::HttpRequest;
using weft::test::RawHttp;

namespace {

size_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  size_t all = 0, resident = 0;
  statm >> all >> resident;
  return resident * 4096;
}

struct Fixture {
  std::shared_ptr<Router> router = std::make_shared<Router>();
  ServerOptions options;
  ServerHooks hooks;
  std::unique_ptr<Server> server;

  std::mutex mutex;
  ExchangePtr held;                        // what /hold leaves open
  std::promise<CloseReason> close_reason;  // why it ended

  Fixture() {
    Add("GET", "/hello", [](const ExchangePtr& e) { e->Send(Response::Text(200, "hello")); });
    Add("POST", "/echo",
        [](const ExchangePtr& e) { e->Send(Response::Text(200, e->request().body)); });
    Add("GET", "/silent", [](const ExchangePtr&) {});
    Add("GET", "/hold", [this](const ExchangePtr& e) {
      e->OnClose([this](CloseReason reason) { close_reason.set_value(reason); });
      std::lock_guard lock(mutex);
      held = e;
    });
    Add("GET", "/stream", [this](const ExchangePtr& e) {
      Response head;
      head.headers.Add("Content-Type", "text/event-stream");
      e->OnClose([this](CloseReason reason) { close_reason.set_value(reason); });
      e->StartStream(std::move(head));
      std::lock_guard lock(mutex);
      held = e;
    });
  }
  void Add(std::string_view method, std::string_view pattern, weft::http::Handler handler) {
    REQUIRE(router->Add(method, pattern, std::move(handler)).ok());
  }
  uint16_t Start() {
    auto started = Server::Start(options, router, hooks);
    REQUIRE(started.ok());
    server = std::move(*started);
    return server->port();
  }
  ExchangePtr Held() {
    for (int i = 0; i < 1000; ++i) {
      {
        std::lock_guard lock(mutex);
        if (held) return held;
      }
      std::this_thread::sleep_for(5ms);
    }
    FAIL("no exchange was held");
    return nullptr;
  }
  ~Fixture() {
    {
      std::lock_guard lock(mutex);
      held = nullptr;
    }
    if (server) server->Stop();
  }
};

}  // namespace

TEST_CASE("Server answers several requests on one connection, also pipelined ones", "[http]") {
  Fixture f;
  RawHttp client(f.Start());
  client.Send(
      "GET /hello HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: "
      "3\r\n\r\nabc");
  auto first = client.ReadAnswer();
  CHECK(first.status == 200);
  CHECK(first.body == "hello");
  CHECK(first.Header("Date").size() == 29);
  CHECK(client.ReadAnswer().body == "abc");
  client.Send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  CHECK(client.ReadAnswer().body == "abcde");
  client.Send("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  CHECK(client.ReadAnswer().Header("Connection") == "close");
  CHECK(client.PeerClosed(5s));
}

TEST_CASE("Server says 404, 405 with Allow, and answers HEAD without a body", "[http]") {
  Fixture f;
  const uint16_t port = f.Start();
  CHECK(HttpRequest(port, "GET", "/nothing").status == 404);
  const auto wrong = HttpRequest(port, "DELETE", "/hello");
  CHECK(wrong.status == 405);
  CHECK(wrong.Header("Allow") == "GET");
  RawHttp client(port);
  client.Send("HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string all = client.ReadToEnd();
  CHECK(all.find("Content-Length: 5") != std::string::npos);
  CHECK(all.substr(all.size() - 4) == "\r\n\r\n");
}

TEST_CASE("A handler that drops its exchange without an answer, or throws, answers 500", "[http]") {
  Fixture f;
  f.Add("GET", "/throw", [](const ExchangePtr&) { throw std::runtime_error("/a/path"); });
  const uint16_t port = f.Start();
  CHECK(HttpRequest(port, "GET", "/silent").status == 500);
  const auto thrown = HttpRequest(port, "GET", "/throw");
  CHECK(thrown.status == 500);
  CHECK(thrown.body.find("/a/path") == std::string::npos);
}

TEST_CASE("Every request that began is logged once, also one whose client vanished", "[http]") {
  Fixture f;
  std::atomic<int> begun{0};
  std::atomic<int> ended{0};
  std::atomic<int> gone{0};
  f.hooks.request_start = [&] { ++begun; };
  f.hooks.access_log = [&](const weft::http::AccessRecord& record) {
    ++ended;
    if (record.status == 499) ++gone;
  };
  const uint16_t port = f.Start();
  HttpRequest(port, "GET", "/hello");
  HttpRequest(port, "GET", "/nothing");
  {
    RawHttp cut(port);
    cut.Send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
    std::this_thread::sleep_for(20ms);
    cut.Reset();
  }
  for (int i = 0; i < 500 && ended < 3; ++i) std::this_thread::sleep_for(5ms);
  CHECK(begun == 3);
  CHECK(ended == 3);
  CHECK(gone == 1);
  CHECK(f.server->stats().active_requests == 0);
}

TEST_CASE("Server streams pieces as they come and ends the stream", "[http]") {
  Fixture f;
  RawHttp client(f.Start());
  client.Send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  auto exchange = f.Held();
  REQUIRE(exchange->Write("data: 1\n\n"));
  CHECK(client.ReadUntil("data: 1\n\n").find("Transfer-Encoding: chunked") != std::string::npos);
  CHECK(f.server->stats().streams == 1);
  REQUIRE(exchange->Write("data: 2\n\n"));
  exchange->End();
  CHECK(client.ReadUntil("0\r\n\r\n").find("data: 2") != std::string::npos);
  CHECK_FALSE(exchange->Write("late"));
  client.Send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(client.ReadAnswer().status == 200);
  CHECK(f.server->stats().streams == 0);
}

TEST_CASE("HTTP/1.0 gets a stream without chunks that ends with the connection", "[http]") {
  Fixture f;
  RawHttp client(f.Start());
  client.Send("GET /stream HTTP/1.0\r\n\r\n");
  auto exchange = f.Held();
  exchange->Write("abc");
  exchange->End();
  const std::string all = client.ReadToEnd();
  CHECK(all.substr(all.find("\r\n\r\n")) == "\r\n\r\nabc");
}

TEST_CASE("A client that closes or half-closes is noticed while a handler works", "[http]") {
  Fixture f;
  RawHttp client(f.Start());
  client.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  auto exchange = f.Held();
  SECTION("closes") { client.Close(); }
  SECTION("resets") { client.Reset(); }
  SECTION("half-closes after a pipelined request") {
    client.Send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    std::this_thread::sleep_for(50ms);
    client.ShutdownSend();
  }
  SECTION("half-closes and still gets an answer") {
    client.ShutdownSend();
    auto reason = f.close_reason.get_future();
    REQUIRE(reason.wait_for(5s) == std::future_status::ready);
    exchange->Send(Response::Text(499, "cancelled"));
    CHECK(client.ReadAnswer().status == 499);
    CHECK(client.PeerClosed(5s));
    return;
  }
  auto reason = f.close_reason.get_future();
  REQUIRE(reason.wait_for(5s) == std::future_status::ready);
  CHECK(reason.get() == CloseReason::kClientGone);
  CHECK(exchange->closed());
}

TEST_CASE("A slow head or body ends with 408 and a silent connection is closed", "[http]") {
  Fixture f;
  f.options.header_timeout = 300ms;
  f.options.body_timeout = 300ms;
  f.options.idle_timeout = 300ms;
  const uint16_t port = f.Start();
  RawHttp head(port);
  RawHttp body(port);
  RawHttp silent(port);
  RawHttp idle(port);
  idle.Send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  body.Send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
  // One byte every 100 ms keeps no connection alive.
  std::thread drip([&] {
    for (const char c : std::string("GET /hello HTTP/1.1")) {
      if (!head.Send(std::string_view(&c, 1))) return;
      std::this_thread::sleep_for(100ms);
    }
  });
  CHECK(body.ReadAnswer(5s).status == 408);
  CHECK(silent.PeerClosed(5s));
  CHECK(idle.PeerClosed(5s));
  drip.join();
  CHECK(head.ReadAnswer(5s).status == 408);
}

TEST_CASE("Heads and bodies beyond the limits get 431 and 413 and the answer arrives", "[http]") {
  Fixture f;
  f.options.max_header_bytes = 2048;
  f.options.max_body_bytes = 100'000;
  const uint16_t port = f.Start();
  CHECK(
      HttpRequest(port, "GET", "/hello", {}, "X-Long: " + std::string(4000, 'a') + "\r\n").status ==
      431);
  const auto big = HttpRequest(port, "POST", "/echo", std::string(10'000'000, 'x'));
  CHECK(big.status == 413);
  CHECK(big.body.find("100000") != std::string::npos);
  RawHttp chunked(port);
  chunked.Send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 30; ++i) {
    if (!chunked.Send("1000\r\n" + std::string(4096, 'x') + "\r\n")) break;
  }
  CHECK(chunked.ReadAnswer().status == 413);
  RawHttp expecting(port);
  expecting.Send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\nExpect: 100-continue\r\n\r\n");
  CHECK(expecting.ReadAnswer().status == 413);
  RawHttp patient(port);
  patient.Send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  CHECK(patient.ReadUntil("\r\n\r\n").find("100 Continue") != std::string::npos);
  patient.Send("ok");
  CHECK(patient.ReadAnswer().body == "ok");
}

TEST_CASE("Requests that could be read in two ways are refused", "[http]") {
  Fixture f;
  const uint16_t port = f.Start();
  const char* bad[] = {
      ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
       "0\r\n\r\n"),
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
      "GET /hello HTTP/1.1\r\n\r\n",
      "GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
      "GET hello HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET /hello HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n",
      "GET /hello HTTP/3.7\r\nHost: x\r\n\r\n",
      "GET /hello HTTP/1.1\nHost: x\n\n",
      "GET /hello HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
      "GET /hello HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
      "GET /hello HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
      "GET /hello HTTP/1.1\r\nHost: x\r\nX: a\r\n\tTransfer-Encoding: chunked\r\n\r\n",
      "GET /hello HTTP/1.1\r\n Host: x\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0b"
      "chunked\r\n\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
      "x\r\n\r\n0\r\n\r\n",
      "POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc",
      "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551617\r\n\r\na",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
      "chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3;a=\nb\r\nabc\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno colon\r\n\r\n",
      "GET /hello HTTP/1.1\r\nHost: x\r\nX: a\x01"
      "b\r\n\r\n",
      "GET /hello HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
      "GET /hello HTTP/1.1\r\nHost: a/../b\r\n\r\n",
      "GET /hel\xc3\xa4lo HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET /hello#x HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET /hello HTTP/1.1 \r\nHost: x\r\n\r\n",
      "GET  /hello HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET\t/hello HTTP/1.1\r\nHost: x\r\n\r\n",
      "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS hello\r\n\r\n",
  };
  for (const char* text : bad) {
    CAPTURE(text);
    RawHttp client(port);
    client.Send(text);
    CHECK(client.ReadAnswer().status == 400);
    CHECK(client.PeerClosed(5s));
  }
}

TEST_CASE("Paths that try to be another one find nothing", "[http]") {
  Fixture f;
  f.Add("GET", "/v1/models/{id}", [](const ExchangePtr& e) {
    e->Send(Response::Text(200, std::string(e->request().Param("id"))));
  });
  const uint16_t port = f.Start();
  for (const char* path :
       {"//hello", "/hello/", "/./hello", "/x/../hello", "/%2e%2e/hello", "/hello%00", "/hello;x",
        "/HELLO", "/%68ello", "*", "/v1/models//x", "/v1//models/x"}) {
    CAPTURE(path);
    CHECK(HttpRequest(port, "GET", path).status == 404);
  }
  // An escaped slash stays inside its segment, and the handler gets the decoded name.
  const auto one = HttpRequest(port, "GET", "/v1/models/..%2f..%2fkeys");
  CHECK(one.status == 200);
  CHECK(one.body == "../../keys");
  // The absolute form names the same path; its authority does not choose anything here.
  CHECK(HttpRequest(port, "GET", "http://elsewhere.example/hello").status == 200);
}

TEST_CASE("Chunk extensions and trailers are dropped, and endless ones refused", "[http]") {
  Fixture f;
  const uint16_t port = f.Start();
  const std::string head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  RawHttp good(port);
  good.Send(head + "3;name=\"v\";b\r\nabc\r\n0;last\r\nX-Trailer: 1\r\nContent-Length: 9\r\n\r\n" +
            "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(good.ReadAnswer().body == "abc");
  CHECK(good.ReadAnswer().body == "hello");
  RawHttp extension(port);
  extension.Send(head + "3;" + std::string(5000, 'a'));
  CHECK(extension.ReadAnswer().status == 400);
  RawHttp trailers(port);
  trailers.Send(head + "0\r\n");
  for (int i = 0; i < 1000; ++i)
    if (!trailers.Send("X-Trailer: " + std::string(100, 'a') + "\r\n")) break;
  CHECK(trailers.ReadAnswer().status == 400);
}

TEST_CASE("A reader that stalls is cut when its buffer or its time is over", "[http]") {
  Fixture f;
  f.options.write_timeout = 500ms;
  SECTION("buffer") { f.options.max_buffered_bytes = 1 << 20; }
  SECTION("time") { f.options.max_buffered_bytes = 64 << 20; }
  RawHttp client(f.Start());
  client.SetReceiveBuffer(4096);
  client.Send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  auto exchange = f.Held();
  const std::string piece(100'000, 'x');
  for (int i = 0; i < 400 && exchange->Write(piece); ++i) std::this_thread::sleep_for(1ms);
  auto reason = f.close_reason.get_future();
  REQUIRE(reason.wait_for(10s) == std::future_status::ready);
  CHECK(reason.get() == CloseReason::kStalled);
  CHECK_FALSE(exchange->Write("more"));
}

TEST_CASE("Connections and streams beyond their number are refused", "[http]") {
  Fixture f;
  f.options.max_connections = 2;
  f.options.max_streams = 0;
  const uint16_t port = f.Start();
  RawHttp a(port);
  a.Send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  REQUIRE(a.ReadAnswer().status == 200);
  RawHttp b(port);
  b.Send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  auto exchange = f.Held();
  CHECK_FALSE(exchange->Write("x"));
  exchange->Send(Response::Text(503, "no stream left"));
  CHECK(b.ReadAnswer().status == 503);
}

// It keeps what was freed for a while.
#if defined(__has_feature)
constexpr bool kAddressSanitizer = __has_feature(address_sanitizer);
#elif defined(__SANITIZE_ADDRESS__)
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif

TEST_CASE("500 readers that stall cost flat memory, and who reads is served", "[http]") {
  Fixture f;
  constexpr size_t kTotal = 8 << 20;
  constexpr size_t kReaders = 500;
  f.options.max_total_buffered_bytes = kTotal;
  f.options.write_timeout = 60s;
  std::vector<ExchangePtr> streams;
  std::mutex streams_mutex;
  f.Add("GET", "/many", [&](const ExchangePtr& e) {
    e->StartStream({});
    std::lock_guard lock(streams_mutex);
    streams.push_back(e);
  });
  const uint16_t port = f.Start();
  std::vector<std::unique_ptr<RawHttp>> readers;
  for (size_t i = 0; i < kReaders; ++i) {
    readers.push_back(std::make_unique<RawHttp>(port));
    readers.back()->SetReceiveBuffer(4096);
    readers.back()->Send("GET /many HTTP/1.1\r\nHost: x\r\n\r\n");
  }
  for (int i = 0; i < 2000; ++i) {
    std::lock_guard lock(streams_mutex);
    if (streams.size() == kReaders) break;
    std::this_thread::sleep_for(5ms);
  }
  REQUIRE(streams.size() == kReaders);
  const size_t before = ResidentBytes();
  const std::string piece(10'000, 'x');
  size_t most = 0;
  size_t written = 0;
  for (int round = 0; round < 100; ++round) {  // 500 MB if all were kept
    for (const auto& stream : streams) written += stream->Write(piece) ? 1 : 0;
    most = std::max(most, f.server->stats().buffered_bytes);
    if (round % 20 == 0) CHECK(HttpRequest(port, "GET", "/hello").status == 200);
  }
  CHECK(written > kReaders);
  CHECK(most <= kTotal + kReaders * 10'100);
  CHECK(f.server->stats().stalled_streams == kReaders);
  if (!kAddressSanitizer) CHECK(ResidentBytes() < before + 64 * 1024 * 1024);
  CHECK(HttpRequest(port, "GET", "/hello").status == 200);
  std::lock_guard lock(streams_mutex);
  streams.clear();
}

TEST_CASE("A new connection takes the place of one that waits, not of one that works", "[http]") {
  Fixture f;
  f.options.max_connections = 2;
  const uint16_t port = f.Start();
  RawHttp working(port);
  working.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto first = f.Held();
  RawHttp loris(port);
  loris.Send("GET /hello HTTP/1.1\r\nX-Slow: ");
  while (f.server->stats().connections < 2) std::this_thread::sleep_for(1ms);
  RawHttp third(port);
  CHECK(loris.PeerClosed(5s));
  third.Send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(third.ReadUntil("\r\n\r\n").find(" 200 ") != std::string::npos);
  CHECK(f.server->stats().evicted_connections == 1);
  RawHttp fourth(port);  // now both work
  CHECK(fourth.ReadAnswer().status == 503);
  CHECK(fourth.PeerClosed(5s));
  f.Held()->End();
}

TEST_CASE("An address has no more connections than it may", "[http]") {
  Fixture f;
  f.options.max_connections_per_address = 2;
  const uint16_t port = f.Start();
  RawHttp a(port), b(port);
  a.Send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  REQUIRE(a.ReadAnswer().status == 200);
  b.Send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  REQUIRE(b.ReadAnswer().status == 200);
  RawHttp c(port);
  CHECK(c.PeerClosed(5s));
  CHECK(HttpRequest(port, "GET", "/hello", {}, {}, "127.0.0.2").status == 200);
  a.Close();
  const auto end = std::chrono::steady_clock::now() + 10s;
  int status = 0;  // the place is free when the server has seen the close
  while (status != 200 && std::chrono::steady_clock::now() < end)
    status = HttpRequest(port, "GET", "/hello").status;
  CHECK(status == 200);
}

TEST_CASE("The header filter refuses before the body and can attach a context", "[http]") {
  Fixture f;
  f.hooks.header_filter = [](weft::http::Request& request,
                             const Router::Route*) -> std::optional<Response> {
    if (request.headers.Get("X-Pass") != "yes") return Response::Text(401, "who are you");
    request.context = std::make_shared<int>(7);
    return std::nullopt;
  };
  f.Add("GET", "/context", [](const ExchangePtr& e) {
    e->Send(
        Response::Text(200, std::to_string(*std::static_pointer_cast<int>(e->request().context))));
  });
  const uint16_t port = f.Start();
  CHECK(HttpRequest(port, "GET", "/context", {}, "X-Pass: yes\r\n").body == "7");
  CHECK(HttpRequest(port, "POST", "/echo", std::string(10'000'000, 'x')).status == 401);
  RawHttp client(port);  // a small refused body does not cost the connection
  client.Send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
  CHECK(client.ReadAnswer().status == 401);
  client.Send("GET /context HTTP/1.1\r\nHost: x\r\nX-Pass: yes\r\n\r\n");
  CHECK(client.ReadAnswer().body == "7");
}

TEST_CASE("A line break in a header value never reaches the wire", "[http]") {
  Fixture f;
  f.Add("GET", "/inject", [](const ExchangePtr& e) {
    Response response = Response::Text(200, "ok");
    response.headers.Add("X-Bad", "a\r\nSet-Cookie: b");
    e->Send(std::move(response));
  });
  CHECK(HttpRequest(f.Start(), "GET", "/inject").head.find("Set-Cookie") == std::string::npos);
}

TEST_CASE("Drain lets running answers finish and closes idle connections", "[http]") {
  Fixture f;
  const uint16_t port = f.Start();
  RawHttp idle(port);
  idle.Send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  REQUIRE(idle.ReadAnswer().status == 200);
  RawHttp busy(port);
  busy.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  auto exchange = f.Held();
  auto drained = std::async(std::launch::async, [&] { return f.server->Drain(10s); });
  CHECK(idle.PeerClosed(5s));
  CHECK_THROWS(RawHttp(port));
  exchange->Send(Response::Text(200, "done"));
  const auto answer = busy.ReadAnswer();
  CHECK(answer.body == "done");
  CHECK(answer.Header("Connection") == "close");
  CHECK(drained.get());
}

TEST_CASE("Stop ends open exchanges, and they may outlive the server", "[http]") {
  Fixture f;
  RawHttp client(f.Start());
  client.Send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
  auto exchange = f.Held();
  f.server->Stop();
  CHECK(f.close_reason.get_future().get() == CloseReason::kServerStop);
  f.server.reset();
  exchange->Send(Response::Text(200, "nobody"));
  CHECK(exchange->closed());
}

TEST_CASE("A taken port is an error that names the address", "[http]") {
  Fixture f;
  ServerOptions options;
  options.port = f.Start();
  const auto second = Server::Start(options, f.router);
  REQUIRE_FALSE(second.ok());
  CHECK(std::string(weft::Message(second.status()))
            .find("127.0.0.1:" + std::to_string(options.port)) != std::string::npos);
}

TEST_CASE("AdminServer shows metrics, health and readiness from its callbacks", "[http]") {
  std::atomic<bool> ready{false};
  weft::http::AdminCallbacks callbacks;
  callbacks.metrics = [] { return std::string("up 1\n"); };
  callbacks.ready = [&](std::string* detail) {
    *detail = "no worker";
    return ready.load();
  };
  auto server = weft::http::AdminServer::Start({}, callbacks);
  REQUIRE(server.ok());
  const uint16_t port = (*server)->port();
  CHECK(HttpRequest(port, "GET", "/metrics").body == "up 1\n");
  CHECK(HttpRequest(port, "GET", "/health").body == R"({"status":"healthy"})");
  const auto waiting = HttpRequest(port, "GET", "/ready");
  CHECK(waiting.status == 503);
  CHECK(waiting.body == R"({"detail":"no worker","status":"not_ready"})");
  ready = true;
  CHECK(HttpRequest(port, "GET", "/ready").status == 200);
}
