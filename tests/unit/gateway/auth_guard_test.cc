#include "services/gateway/auth_guard.h"

#include <string>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "services/gateway/admission.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using weft::FakeClock;
using weft::gateway::Admission;
using weft::gateway::AuthGuard;
using weft::identity::Credentials;
using weft::identity::Permission;

namespace {

// Knows "good" and counts how often it is asked.
class OneKey final : public weft::identity::Authenticator {
 public:
  absl::StatusOr<weft::identity::PrincipalPtr> Authenticate(const Credentials& c) override {
    ++asked;
    if (store_away) return weft::Unavailable("away");
    if (c.api_key.empty() && c.authorization.empty()) return weft::identity::PrincipalPtr();
    if (c.api_key != key) return weft::Unauthenticated("Incorrect API key provided.");
    auto principal = std::make_shared<weft::identity::Principal>();
    principal->key_id = "id";
    principal->permissions = weft::identity::PermissionSet::All();
    return weft::identity::PrincipalPtr(principal);
  }
  std::string key = "good";
  int asked = 0;
  bool store_away = false;
};

struct Fixture {
  explicit Fixture(uint32_t per_minute = 3) : guard({per_minute, 100}, clock) {}
  Admission::Pass Try(std::string_view key, std::string_view address) {
    return admission.Check(Permission::kModelsUse, true,
                           {.api_key = key, .remote_address = address});
  }
  absl::StatusCode Code(std::string_view key, std::string_view address) {
    return Try(key, address).status.code();
  }
  bool Shows(const std::string& line) {
    return registry.Expose().find("\n" + line + "\n") != std::string::npos;
  }

  FakeClock clock;
  OneKey keys;
  AuthGuard guard;
  weft::telemetry::Registry registry;
  weft::gateway::TrafficMetrics traffic_metrics{registry};
  weft::gateway::TrafficGuard traffic{{.limits = {}, .pricing = weft::usage::Pricing()},
                                      weft::limits::NewLocalLimiter(nullptr, clock),
                                      false,
                                      nullptr,
                                      traffic_metrics,
                                      clock};
  weft::gateway::Metrics metrics{registry};
  Admission admission{keys, guard, traffic, metrics};
};

constexpr auto kOk = absl::StatusCode::kOk;
constexpr auto kBad = absl::StatusCode::kUnauthenticated;
constexpr auto kBusy = absl::StatusCode::kResourceExhausted;

}  // namespace

TEST_CASE("Bad keys of one address end in 429 without asking the store", "[gateway]") {
  Fixture f;
  for (uint32_t i = 0; i < 3; ++i) {
    const auto pass = f.Try("bad" + std::to_string(i), "192.0.2.1");
    REQUIRE(pass.status.code() == kBad);
    REQUIRE(pass.limited);
    CHECK(pass.limited->policy == "failed-auth");
    CHECK(pass.limited->decision.remaining == 2 - i);
  }
  const int asked = f.keys.asked;
  const auto refused = f.Try("bad", "192.0.2.1");
  CHECK(refused.status.code() == kBusy);
  CHECK(weft::RetryAfterOf(refused.status) == 20s);
  CHECK_FALSE(refused.limited->decision.allowed);
  CHECK(f.Code("good", "192.0.2.1") == kBusy);  // nobody here has seen this key yet
  CHECK(f.keys.asked == asked);
  CHECK(f.Shows("weft_auth_failures_total{reason=\"bad_key\"} 3"));
  CHECK(f.Shows("weft_auth_failures_total{reason=\"throttled\"} 2"));
  f.clock.Advance(20s);
  CHECK(f.Code("bad", "192.0.2.1") == kBad);
  CHECK(f.Code("bad", "192.0.2.1") == kBusy);
}

TEST_CASE("A blocked address locks nobody else out, and no key that is in use", "[gateway]") {
  Fixture f;
  CHECK(f.Code("good", "192.0.2.1") == kOk);
  for (int i = 0; i < 10; ++i) f.Code("bad", "192.0.2.1");
  CHECK(f.Code("bad", "192.0.2.1") == kBusy);
  CHECK(f.Code("good", "192.0.2.2") == kOk);
  CHECK(f.Code("good", "192.0.2.1") == kOk);  // behind the same proxy as the attacker
  CHECK(f.Code("bad", "192.0.2.2") == kBad);
  // Once revoked it is a bad key like any other.
  f.keys.key = "another";
  CHECK(f.Code("good", "192.0.2.1") == kBusy);
  CHECK(f.Code("good", "192.0.2.2") == kBad);
}

TEST_CASE("A good key costs its address nothing, and neither does no key", "[gateway]") {
  Fixture f;
  for (int i = 0; i < 20; ++i) {
    CHECK(f.Code("good", "192.0.2.1") == kOk);
    CHECK(f.Code("", "192.0.2.1") == kBad);
  }
  CHECK(f.Code("bad", "192.0.2.1") == kBad);
}

TEST_CASE("Another page's cookie is no attempt to come in", "[gateway]") {
  Fixture f;
  for (int i = 0; i < 20; ++i) {
    const auto pass = f.admission.Check(Permission::kModelsUse, true,
                                        {.remote_address = "192.0.2.1", .cookie = "theme=dark"});
    CHECK(pass.status.code() == kBad);
  }
  CHECK(f.Shows("weft_auth_failures_total{reason=\"no_key\"} 20"));
  CHECK(f.Code("bad", "192.0.2.1") == kBad);
}

TEST_CASE("A signer that was good stays so, whatever the nonce; a guessed session does not",
          "[gateway]") {
  FakeClock clock;
  AuthGuard guard({1, 100}, clock);
  const std::string address = "192.0.2.1";
  const auto signer = [&](const char* authorization) {
    return Credentials{.authorization = authorization, .remote_address = address};
  };
  const Credentials first{.remote_address = address, .signing_key_id = "a", .signature = "1"};
  guard.Succeeded(first);
  guard.Succeeded(signer("WEFT-HMAC-SHA256 key=b, ts=1, nonce=1"));
  guard.Succeeded({.remote_address = address, .cookie = "x=1; __Host-weft_session=good"});
  REQUIRE(guard.Failed({.api_key = "bad", .remote_address = address})->allowed);
  CHECK_FALSE(guard.Blocked({.remote_address = address, .signing_key_id = "a", .signature = "2"}));
  CHECK_FALSE(guard.Blocked(signer("WEFT-HMAC-SHA256 key=b, ts=2, nonce=2")));
  CHECK_FALSE(guard.Blocked({.remote_address = address, .cookie = "__Host-weft_session=good"}));
  CHECK(guard.Blocked({.remote_address = address, .signing_key_id = "c", .signature = "2"}));
  CHECK(guard.Blocked(signer("WEFT-HMAC-SHA256 key=c, ts=2, nonce=2")));
  CHECK(guard.Blocked({.remote_address = address, .cookie = "__Host-weft_session=bad"}));
}

TEST_CASE("A store that is away is nobody's failure", "[gateway]") {
  Fixture f;
  f.keys.store_away = true;
  for (int i = 0; i < 10; ++i) {
    CHECK(f.Code("x", "192.0.2.1") == absl::StatusCode::kUnavailable);
  }
  f.keys.store_away = false;
  CHECK(f.Code("bad", "192.0.2.1") == kBad);
}

TEST_CASE("A limit of 0 is none", "[gateway]") {
  Fixture f(0);
  for (int i = 0; i < 100; ++i) {
    const auto pass = f.Try("bad", "192.0.2.1");
    CHECK(pass.status.code() == kBad);
    CHECK_FALSE(pass.limited);
  }
}

TEST_CASE("Many addresses and many good keys take bounded memory", "[gateway]") {
  Fixture f(1);
  for (int i = 0; i < 5000; ++i) {
    f.Code("bad", "10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250));
  }
  const Credentials first{.api_key = "key 0", .remote_address = "192.0.2.1"};
  for (int i = 0; i < 200'000; ++i) {
    const std::string key = "key " + std::to_string(i);
    f.guard.Succeeded({.api_key = key});
  }
  CHECK(f.guard.Failed(first)->allowed);
  CHECK(f.guard.Blocked(first));  // forgotten
  CHECK_FALSE(f.guard.Blocked({.api_key = "key 199999", .remote_address = "192.0.2.1"}));
}
