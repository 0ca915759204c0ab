// Signing in and out, sessions, signed requests and keys over HTTP; what leaves the gateway holds
// no secret.
#include <fmt/format.h>

#include <fstream>

#include "libs/identity/password.h"
#include "libs/identity/request_signature.h"
#include "libs/limits/rate_limiter.h"
#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"

using nlohmann::json;
using namespace std::chrono_literals;
using weft::test::GatewayFixture;
using weft::test::HttpRequest;
using weft::test::RawHttp;

namespace {

// Cheap to check; HashPassword's own cost is tested elsewhere.
std::string Hash(const std::string& password) {
  static const std::string hash = weft::identity::HashPassword(password);
  return hash;
}

void WithUsers(weft::gateway::Config& config) {
  config.key_pepper = "a pepper of at least thirty-two bytes";
  config.identity.tokens.secret = "a token secret of at least 32 bytes!";
  config.identity.users = {{.name = "alice",
                            .tenant = "default",
                            .role = "developer",
                            .password_hash = Hash("open sesame")}};
  config.identity.failed_logins.requests = 3;
}

struct Api {
  explicit Api(std::function<void(weft::gateway::Config&)> adjust = &WithUsers) : f(adjust) {}
  RawHttp::Answer Send(std::string_view method, std::string_view path, std::string_view body,
                       const std::string& headers) {
    return HttpRequest(f.server->http_port(), method, path, body, headers);
  }
  RawHttp::Answer Login(const json& body) {
    return Send("POST", "/auth/login", body.dump(), "Content-Type: application/json\r\n");
  }
  std::string Token() {
    const auto answer = Login({{"username", "alice"}, {"password", "open sesame"}});
    REQUIRE(answer.status == 200);
    return json::parse(answer.body)["access_token"];
  }
  GatewayFixture f;
};

std::string Bearer(const std::string& token) { return "Authorization: Bearer " + token + "\r\n"; }

// name=value of a Set-Cookie header.
std::string CookieOf(const std::string& head, const std::string& name) {
  const size_t at = head.find("Set-Cookie: " + name + "=");
  REQUIRE(at != std::string::npos);
  const size_t begin = at + 12;
  return head.substr(begin, head.find(';', begin) - begin);
}

}  // namespace

TEST_CASE("A password gives a token for a while, and signing out ends it", "[gateway]") {
  Api api;
  const auto answer = api.Login({{"username", "alice"}, {"password", "open sesame"}});
  REQUIRE(answer.status == 200);
  CHECK(answer.Header("Cache-Control") == "no-store");
  const json body = json::parse(answer.body);
  CHECK(body["token_type"] == "bearer");
  CHECK(body["expires_in"] == 900);
  const std::string token = body["access_token"];
  CHECK(api.Send("GET", "/v1/models", "", Bearer(token)).status == 200);
  CHECK(api.Send("GET", "/v1/keys", "", Bearer(token)).status == 403);
  const json me = json::parse(api.Send("GET", "/auth/me", "", Bearer(token)).body);
  CHECK(me["subject"] == "user:alice");
  CHECK(me["auth_method"] == "token");
  const std::string other = api.Token();
  CHECK(api.Send("POST", "/auth/logout", "", Bearer(token)).status == 200);
  const auto ended = api.Send("GET", "/v1/models", "", Bearer(token));
  CHECK(ended.status == 401);
  const json error = json::parse(ended.body);
  CHECK(error["detail"] == "Could not validate credentials");
  CHECK(error["error"]["message"] == "Could not validate credentials");
  CHECK(error["error"]["code"] == "invalid_token");
  CHECK(api.Send("GET", "/v1/models", "", Bearer(other)).status == 200);
  CHECK(api.Send("POST", "/auth/logout", "", api.f.Auth()).status == 400);
  // Over gRPC's rules too: the token of a request that is not well formed.
  CHECK(api.Send("GET", "/v1/models", "", Bearer("eyJhbGciOiJub25lIn0.e30.")).status == 401);
}

TEST_CASE("Wrong passwords are all the same, and too many are stopped", "[gateway]") {
  Api api;
  const auto wrong = api.Login({{"username", "alice"}, {"password", "x"}});
  CHECK(wrong.status == 401);
  CHECK(json::parse(wrong.body)["detail"] == "Invalid authentication credentials");
  const auto nobody = api.Login({{"username", "nobody"}, {"password", "x"}});
  CHECK(json::parse(nobody.body) == json::parse(wrong.body));
  CHECK(api.Login({{"username", "alice"}, {"password", "y"}}).status == 401);
  CHECK(api.Login({{"username", "alice"}, {"password", "z"}}).status == 401);
  const auto stopped = api.Login({{"username", "alice"}, {"password", "open sesame"}});
  CHECK(stopped.status == 429);
  CHECK(!stopped.Header("Retry-After").empty());
  CHECK(api.f.Metric(R"(weft_auth_failures_total{reason="bad_password"})") == 4);
  CHECK(api.Login({{"username", "alice"}}).status == 400);
  CHECK(api.Login({{"username", "alice"}, {"password", "x"}, {"admin", true}}).status == 400);
  CHECK(api.Login(json::array()).status == 400);
}

TEST_CASE("Without a secret nobody signs in, and a short one does not start", "[gateway]") {
  GatewayFixture f;
  const auto answer = f.Post("/auth/login", {{"username", "a"}, {"password", "b"}}, "X: y\r\n");
  CHECK(answer.status == 404);
  CHECK(f.Get("/auth/oidc/login", "X: y\r\n").status == 404);
  weft::gateway::Config config;
  config.identity.tokens.secret = std::string(31, 'x');
  CHECK_FALSE(config.Validate().ok());
}

TEST_CASE("A browser's session works with its cookie, and writes with its token", "[gateway]") {
  Api api;
  const auto answer =
      api.Login({{"username", "alice"}, {"password", "open sesame"}, {"session", true}});
  REQUIRE(answer.status == 200);
  CHECK(answer.body.find("access_token") == std::string::npos);
  const std::string csrf = json::parse(answer.body)["csrf_token"];
  const std::string cookie = CookieOf(answer.head, "__Host-weft_session");
  CHECK(CookieOf(answer.head, "__Host-weft_csrf") == "__Host-weft_csrf=" + csrf);
  CHECK(answer.head.find("; Secure; SameSite=Lax; Max-Age=28800; HttpOnly") != std::string::npos);
  const std::string header = "Cookie: theme=dark; " + cookie + "\r\n";
  CHECK(api.Send("GET", "/v1/models", "", header).status == 200);
  const std::string body = R"({"model":"fake","prompt":"words 2"})";
  CHECK(api.Send("POST", "/v1/completions", body, header).status == 403);
  CHECK(api.Send("POST", "/v1/completions", body, header + "X-CSRF-Token: x\r\n").status == 403);
  CHECK(
      api.Send("POST", "/v1/completions", body, header + "X-CSRF-Token: " + csrf + "\r\n").status ==
      200);
  // The session's token is no bearer token.
  CHECK(api.Send("GET", "/v1/models", "", Bearer(cookie.substr(cookie.find('=') + 1))).status ==
        401);
  const auto out = api.Send("POST", "/auth/logout", "", header + "X-CSRF-Token: " + csrf + "\r\n");
  CHECK(out.status == 200);
  CHECK(out.head.find("__Host-weft_session=; Path=/; Secure; SameSite=Lax; Max-Age=0") !=
        std::string::npos);
  CHECK(api.Send("GET", "/v1/models", "", header).status == 401);
}

TEST_CASE("Signed requests come in once, with the body that was signed", "[gateway]") {
  Api api;
  const json key = json::parse(api.f.Post("/v1/keys", {{"name", "signer"}}).body);
  const std::string secret = key["signing_secret"];
  const std::string id = key["id"];
  const std::string body = R"({"model":"fake","prompt":"words 2"})";
  const int64_t now = weft::UnixSeconds(weft::Clock::Real().Wall());
  const std::string v2 = "Authorization: " +
                         weft::identity::SignV2Header(secret, id, now, "0123456789abcdef", "POST",
                                                      "/v1/completions", body) +
                         "\r\n";
  CHECK(api.Send("POST", "/v1/completions", body, v2).status == 200);
  const auto again = api.Send("POST", "/v1/completions", body, v2);
  CHECK(again.status == 401);
  CHECK(again.body.find("sent before") != std::string::npos);
  const auto v1 = [&](int64_t at, const std::string& signed_body) {
    return "X-Weft-Key-Id: " + id + "\r\nX-Weft-Timestamp: " + std::to_string(at) +
           "\r\nX-Weft-Signature: " + weft::identity::SignV1(secret, at, signed_body) + "\r\n";
  };
  CHECK(api.Send("POST", "/v1/completions", body, v1(now, body)).status == 200);
  CHECK(api.Send("POST", "/v1/completions", body, v1(now, body)).status == 401);
  CHECK(api.Send("POST", "/v1/completions", body, v1(now, "other")).status == 401);
  CHECK(api.Send("POST", "/v1/completions", body, v1(now - 400, body)).status == 401);
  CHECK(api.Send("GET", "/v1/models", "", v1(now, "")).status == 200);
  // A body that comes in chunks is signed, too.
  RawHttp raw(api.f.server->http_port());
  raw.Send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" +
           v1(now - 1, body) + "\r\n" + fmt::format("{:x}\r\n{}\r\n0\r\n\r\n", body.size(), body));
  CHECK(raw.ReadAnswer().status == 200);
  // Nothing is counted against the key before its signature was good.
  const auto models = api.Send("GET", "/auth/me", "", v1(now - 2, ""));
  REQUIRE(models.status == 200);
  CHECK(json::parse(models.body)["auth_method"] == "signature");
}

TEST_CASE("A key is narrowed, rotated and shown as it was made", "[gateway]") {
  Api api;
  const auto made = api.f.Post("/v1/keys", {{"name", "narrow"},
                                            {"scopes", {"models:read"}},
                                            {"allowed_ips", {"127.0.0.1"}},
                                            {"allowed_models", {"fa*"}},
                                            {"project", "p1"}});
  REQUIRE(made.status == 201);
  const json key = json::parse(made.body);
  CHECK(key["scopes"] == json({"models:read"}));
  CHECK(key["project"] == "p1");
  const std::string text = key["secret"];
  CHECK(text.starts_with("weft_dev_"));
  const std::string header = "X-API-Key: " + text + "\r\n";
  CHECK(api.Send("GET", "/v1/models", "", header).status == 200);
  CHECK(api.Send("POST", "/v1/completions", "{}", header).status == 403);
  CHECK(
      HttpRequest(api.f.server->http_port(), "GET", "/v1/models", {}, header, "127.0.0.2").status ==
      401);
  const auto rotated =
      api.f.Post("/v1/keys/" + key["id"].get<std::string>() + "/rotate", {{"overlap_seconds", 0}});
  REQUIRE(rotated.status == 201);
  const json next = json::parse(rotated.body);
  CHECK(next["replaces"] == key["id"]);
  CHECK(api.Send("GET", "/v1/models", "", header).status == 401);
  CHECK(
      api.Send("GET", "/v1/models", "", "X-API-Key: " + next["secret"].get<std::string>() + "\r\n")
          .status == 200);
  for (const auto& [field, value] : std::vector<std::pair<std::string, json>>{
           {"scopes", {"x"}}, {"allowed_ips", {"x"}}, {"allowed_models", {"*x"}}, {"scopes", 1}}) {
    CAPTURE(field);
    const auto bad = api.f.Post("/v1/keys", {{"name", "x"}, {field, value}});
    CHECK(bad.status == 400);
    CHECK(json::parse(bad.body)["error"]["param"] == field);
  }
}

TEST_CASE("No secret is in a log, trace, metric, error or audit line", "[gateway]") {
  std::vector<std::string> secrets;
  std::string shown;
  weft::test::TempDir folder;
  {
    Api api([&](weft::gateway::Config& config) { WithUsers(config); });
    secrets.push_back(api.f.admin_key);
    const json key = json::parse(api.f.Post("/v1/keys", {{"name", "x"}}).body);
    const std::string text = key["secret"];
    const std::string signing = key["signing_secret"];
    const std::string token = api.Token();
    secrets.insert(secrets.end(),
                   {text, signing, token, "open sesame", "a token secret of at least 32 bytes!",
                    "a pepper of at least thirty-two bytes"});
    const auto show = [&](const RawHttp::Answer& answer) { shown += answer.head + answer.body; };
    // Where people and programs put keys by mistake.
    show(api.Send("GET", "/v1/" + text, "", ""));
    show(api.Send("GET", "/v1/models/" + text, "", api.f.Auth()));
    show(api.Send("GET", "/v1/keys?tenant=" + text, "", api.f.Auth()));
    show(api.Send("DELETE", "/v1/keys/" + text, "", api.f.Auth()));
    show(api.Send(text, "/v1/models", "", ""));
    show(api.Send("POST", "/v1/keys", json({{"name", "x"}, {"role", text}}).dump(), api.f.Auth()));
    show(api.Send("POST", "/v1/keys", json({{text, "x"}}).dump(), api.f.Auth()));
    show(api.Send("POST", "/auth/login",
                  json({{"username", text}, {"password", "open sesame"}}).dump(), ""));
    show(api.Send("POST", "/v1/completions", json({{"model", text}, {"prompt", text}}).dump(),
                  api.f.Auth()));
    for (const std::string& header :
         {"X-API-Key: " + text + "x\r\n", "Authorization: Basic " + text + "\r\n",
          "Authorization: " + text + "\r\n", Bearer(text.substr(0, text.size() - 1)),
          Bearer(token + "x"), "Cookie: __Host-weft_session=" + token + "\r\n",
          "User-Agent: " + text + "\r\nX-API-Key: " + text + "\r\n",
          "X-Weft-Key-Id: " + text + "\r\nX-Weft-Timestamp: 1\r\nX-Weft-Signature: " + signing +
              "\r\n"}) {
      show(api.Send("GET", "/v1/models", "", header));
    }
    api.f.Post("/v1/keys/" + key["id"].get<std::string>() + "/rotate", {{"overlap_seconds", 60}});
    shown += HttpRequest(api.f.server->admin_port(), "GET", "/metrics").body;
    shown += api.f.Get("/v1/keys").body;
    api.f.WaitFor(
        [&] {
          return api.f.Get("/v1/admin/audit?action=login").body.find("denied") != std::string::npos;
        },
        "the audit of a refused login");
    for (const char* tenant : {"default", "*"}) {
      shown += api.f.Get(std::string("/v1/admin/audit?limit=999&tenant=") + tenant).body;
    }
    api.f.server.reset();
    api.f.telemetry->Shutdown(1s);
    std::ifstream log(api.f.dir.File("gateway.log"));
    shown += std::string(std::istreambuf_iterator<char>(log), {});
    CHECK(shown.find("\"action\":\"keys:rotate\"") != std::string::npos);
    CHECK(shown.find(key["id"].get<std::string>()) != std::string::npos);
  }
  for (const std::string& secret : secrets) {
    CAPTURE(secret);
    // The secret part: a key's id, before it, is none.
    const std::string part =
        secret.starts_with("weft_") ? secret.substr(secret.rfind('_') + 1) : secret;
    CHECK(shown.find(part.substr(0, 30)) == std::string::npos);
  }
}
