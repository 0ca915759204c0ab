// Refusals in the audit: a flood is a few rows.
#include "services/gateway/refusal_audit.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "libs/identity/api_key.h"
#include "tests/support/catch.h"

using weft::FakeClock;
using weft::gateway::RefusalAudit;
using weft::identity::AuditEvent;
using namespace std::chrono_literals;

namespace {

struct Sink final : weft::identity::AuditSink {
  void Note(AuditEvent event) override { events.push_back(std::move(event)); }
  absl::Status Keep(AuditEvent event) override {
    Note(std::move(event));
    return absl::OkStatus();
  }
  std::vector<AuditEvent> events;
};

RefusalAudit::Refused From(std::string_view reason, std::string_view address) {
  RefusalAudit::Refused refused;
  refused.reason = reason;
  refused.address = address;
  return refused;
}

nlohmann::json Details(const AuditEvent& event) { return nlohmann::json::parse(event.details); }

}  // namespace

TEST_CASE("The first refusal is a row at once, those that follow one row with their number",
          "[gateway]") {
  Sink sink;
  FakeClock clock;
  RefusalAudit audit(sink, {}, clock);
  weft::identity::Principal who;
  who.tenant = "acme";
  who.key_id = "k1";
  for (int i = 0; i < 1000; ++i) {
    const std::string id = "r" + std::to_string(i);
    audit.Note({.reason = "bad_key",
                .address = "192.0.2.1",
                .principal = nullptr,
                .method = "POST",
                .target = "/v1/chat/completions?secret=1",
                .request_id = id});
  }
  auto role = From("role", "192.0.2.1");
  role.principal = &who;
  audit.Note(role);
  REQUIRE(sink.events.size() == 2);
  CHECK(sink.events[0].action == "access:refuse");
  CHECK(sink.events[0].outcome == "denied");
  CHECK(sink.events[0].tenant.empty());
  CHECK(sink.events[0].request_id == "r0");
  CHECK(sink.events[0].resource_id == "POST /v1/chat/completions");  // without its query
  CHECK(Details(sink.events[0]) == nlohmann::json{{"reason", "bad_key"}});
  CHECK(sink.events[1].tenant == "acme");
  CHECK(sink.events[1].key_id == "k1");
  auto in_path = From("no_key", "192.0.2.1");
  const std::string key = weft::identity::NewApiKey("dev").text;
  const std::string target = "/v1/models/" + key;
  in_path.target = target;
  audit.Note(in_path);
  REQUIRE(sink.events.size() == 3);
  CHECK(sink.events[2].resource_id.find(key) == std::string::npos);
  sink.events.pop_back();
  audit.Tick();
  CHECK(sink.events.size() == 2);
  clock.Advance(61s);
  audit.Tick();
  REQUIRE(sink.events.size() == 3);
  CHECK(sink.events[2].ip_address == "192.0.2.1");
  CHECK(Details(sink.events[2])["count"] == 999);
  CHECK(Details(sink.events[2])["reason"] == "bad_key");
  audit.Note(From("bad_key", "192.0.2.1"));
  CHECK(sink.events.size() == 4);  // a new interval
}

TEST_CASE("A flood from many addresses is a bounded number of rows", "[gateway]") {
  Sink sink;
  FakeClock clock;
  {
    RefusalAudit audit(sink, {.most = 10}, clock);
    for (int i = 0; i < 20'000; ++i) {
      const std::string address =
          "10." + std::to_string(i / 256) + "." + std::to_string(i % 256) + ".1";
      audit.Note(From("no_key", address));
    }
    CHECK(sink.events.size() == 10);
  }
  REQUIRE(sink.events.size() == 11);  // also when the gateway ends
  CHECK(Details(sink.events[10])["reason"] == "others");
  CHECK(Details(sink.events[10])["count"] == 19'990);
  Sink none;
  RefusalAudit off(none, {.most = 0}, clock);
  off.Note(From("no_key", "10.0.0.1"));
  CHECK(none.events.empty());
}
