// The gateway's use of the scanner, over a fake one that finds the word in brackets it is told to.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server_context.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <set>

#include "libs/base/status.h"
#include "libs/rpc/server.h"
#include "libs/rpc/stream_session.h"
#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"
#include "weft/v1/inference.grpc.pb.h"
#include "weft/v1/scanner.grpc.pb.h"

using nlohmann::json;
using weft::gateway::PolicyPreset;
using weft::test::ChatBody;
using weft::test::Events;
using weft::test::GatewayFixture;
namespace v1 = weft::v1;

namespace {

constexpr std::string_view kBad = "EVIL";       // category code, in outputs
constexpr std::string_view kAsk = "JAILBREAK";  // category prompt, in prompts

void FindAll(std::string_view text, std::string_view word, std::string_view category,
             google::protobuf::RepeatedPtrField<v1::Finding>* out, size_t from = 0) {
  for (size_t at = text.find(word, from); at != std::string_view::npos;
       at = text.find(word, at + 1)) {
    v1::Finding& finding = *out->Add();
    finding.set_rule("test.rule");
    finding.set_type("test_type");
    finding.set_category(std::string(category));
    finding.set_begin(at);
    finding.set_end(at + word.size());
    finding.set_line(1);
    finding.set_severity(v1::SEVERITY_HIGH);
    finding.set_match(std::string(word));
  }
}

class FakeScanner final : public v1::ScannerService::CallbackService {
 public:
  FakeScanner() {
    weft::rpc::ServerOptions options;
    options.listen = {"127.0.0.1:0"};
    auto started =
        weft::rpc::Server::Start(options, {{this, v1::ScannerService::service_full_name()}});
    REQUIRE(started.ok());
    server_ = std::move(*started);
  }
  ~FakeScanner() override {
    {
      std::lock_guard lock(mutex_);
      for (const auto& session : sessions_) session->Abort(weft::Unavailable("gone"));
    }
    server_->Drain(std::chrono::milliseconds(200));
  }
  std::string address() const { return server_->addresses().front(); }
  std::atomic<bool> silent{false};     // answers nothing
  std::atomic<bool> truncated{false};  // says that there were more findings than it tells

  grpc::ServerUnaryReactor* ScanText(grpc::CallbackServerContext* context,
                                     const v1::ScanTextRequest* request,
                                     v1::ScanTextResponse* response) override {
    FindAll(request->text(), kAsk, "prompt", response->mutable_findings());
    response->set_truncated(truncated && response->findings_size() > 0);
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  // Takes the word out, once in each part; a part "slow" is too costly.
  grpc::ServerUnaryReactor* SanitizePrompt(grpc::CallbackServerContext* context,
                                           const v1::SanitizePromptRequest* request,
                                           v1::SanitizePromptResponse* response) override {
    ++sanitized;
    auto* reactor = context->DefaultReactor();
    for (std::string part : request->parts()) {
      if (part.find("slow") != std::string::npos) {
        reactor->Finish({grpc::StatusCode::INVALID_ARGUMENT, "too costly"});
        return reactor;
      }
      if (const size_t at = part.find(kAsk); at != std::string::npos) part.erase(at, kAsk.size());
      response->add_parts(part);
    }
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  std::atomic<int> sanitized{0};

  grpc::ServerBidiReactor<v1::ScanFrame, v1::ScanVerdictFrame>* ScanStream(
      grpc::CallbackServerContext* context) override {
    return weft::rpc::AcceptSession<v1::ScanFrame, v1::ScanVerdictFrame>(
        context, std::make_shared<Handler>(*this));
  }

 private:
  using SessionPtr = std::shared_ptr<weft::rpc::Session<v1::ScanVerdictFrame>>;
  class Handler final : public weft::rpc::SessionHandler<v1::ScanFrame, v1::ScanVerdictFrame> {
   public:
    explicit Handler(FakeScanner& fake) : fake_(fake) {}
    void OnOpen(SessionPtr session) override {
      session_ = std::move(session);
      std::lock_guard lock(fake_.mutex_);
      fake_.sessions_.insert(session_);
    }
    void OnFrame(v1::ScanFrame& frame) override {
      if (fake_.silent && frame.handles_size() > 0) return;
      v1::ScanVerdictFrame verdict;
      size_t at = 0;
      std::set<uint32_t> moved(frame.closes().begin(), frame.closes().end());
      std::map<uint32_t, size_t> before;
      for (int i = 0; i < frame.handles_size(); ++i) {
        before.emplace(frame.handles(i), texts_[frame.handles(i)].size());
        texts_[frame.handles(i)] += frame.text().substr(at, frame.lengths(i));
        at += frame.lengths(i);
        moved.insert(frame.handles(i));
      }
      for (const uint32_t handle : moved) {
        const std::string& text = texts_[handle];
        const bool closed = std::count(frame.closes().begin(), frame.closes().end(), handle) > 0;
        // A word may still grow: its last letters but one are not clear yet.
        const size_t clear =
            closed ? text.size() : text.size() - std::min(text.size(), kBad.size() - 1);
        v1::StreamFindings& findings = *verdict.add_findings();
        findings.set_handle(handle);
        FindAll(std::string_view(text), kBad, "code", findings.mutable_findings(),
                reported_[handle]);
        findings.set_truncated(fake_.truncated && findings.findings_size() > 0);
        if (!findings.findings().empty()) reported_[handle] = text.rfind(kBad) + 1;
        verdict.add_handles(handle);
        verdict.add_clear_through(clear);
        if (closed) verdict.add_closed(handle);
      }
      session_->Send(std::move(verdict));
    }
    void OnClosed(const absl::Status&) override {
      std::lock_guard lock(fake_.mutex_);
      fake_.sessions_.erase(session_);
    }

   private:
    FakeScanner& fake_;
    SessionPtr session_;
    std::map<uint32_t, std::string> texts_;
    std::map<uint32_t, size_t> reported_;
  };

  std::mutex mutex_;
  std::set<SessionPtr> sessions_;
  std::unique_ptr<weft::rpc::Server> server_;
};

struct Fixture {
  FakeScanner scanner;
  GatewayFixture gateway;
  explicit Fixture(std::function<void(weft::gateway::Config&)> adjust)
      : gateway([&](weft::gateway::Config& c) {
          c.scanner = scanner.address();
          c.scan.timeout = std::chrono::milliseconds(500);
          adjust(c);
        }) {
    gateway.WaitFor([&] { return gateway.Metric("weft_gateway_scanner_connected") == 1; },
                    "the scanner");
  }
};

constexpr char kText[] = "text: all is fine here, then EVIL comes and more follows";

}  // namespace

TEST_CASE("Blocked output ends with content_filter, names rule and line, and is not shown",
          "[gateway]") {
  Fixture f([](auto& c) { c.output_policy = PolicyPreset::kBlock; });
  const auto events =
      Events(f.gateway.Post("/v1/chat/completions", ChatBody(kText, {{"stream", true}})).body);
  std::string text;
  for (const json& event : events) {
    if (event.is_object()) text += event["choices"][0]["delta"].value("content", "");
  }
  CHECK(text == "all is fine here, then ");
  CHECK(events.back() == "[DONE]");
  const json& last = events[events.size() - 2];
  CHECK(last["choices"][0]["finish_reason"] == "content_filter");
  CHECK(last["weft"]["content_filter"]["rule"] == "test.rule");
  CHECK(last["weft"]["content_filter"]["line"] == 1);
  const json whole = json::parse(f.gateway.Post("/v1/chat/completions", ChatBody(kText)).body);
  CHECK(whole["choices"][0]["message"]["content"] == "all is fine here, then ");
  CHECK(whole["choices"][0]["finish_reason"] == "content_filter");
}

TEST_CASE("Redacted output hides the finding and keeps the rest", "[gateway]") {
  Fixture f([](auto& c) { c.output_policy = PolicyPreset::kRedact; });
  const json whole = json::parse(f.gateway.Post("/v1/chat/completions", ChatBody(kText)).body);
  const std::string text = whole["choices"][0]["message"]["content"];
  CHECK(text == "all is fine here, then [REDACTED:test_type] comes and more follows");
  CHECK(whole["choices"][0]["finish_reason"] == "stop");
}

TEST_CASE("Flagged output passes whole and says what was found", "[gateway]") {
  Fixture f([](auto& c) { c.output_policy = PolicyPreset::kFlag; });
  const json whole = json::parse(f.gateway.Post("/v1/chat/completions", ChatBody(kText)).body);
  CHECK(whole["choices"][0]["message"]["content"] == std::string(kText).substr(6));
  CHECK(whole["choices"][0]["weft"]["findings"].size() == 1);
  CHECK(f.gateway.Metric("weft_scan_findings_total{action=\"flag\",kind=\"output\"}") == 1);
}

TEST_CASE("Blocked output ends over gRPC as it does over REST", "[gateway]") {
  Fixture f([](auto& c) { c.output_policy = PolicyPreset::kBlock; });
  const auto stub = v1::InferenceService::NewStub(
      grpc::CreateChannel(f.gateway.server->grpc_address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + f.gateway.admin_key);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  v1::GenerateRequest request;
  request.set_model("fake");
  request.set_prompt(kText);
  auto reader = stub->Generate(&context, request);
  std::string text;
  v1::GenerateResponse last;
  for (v1::GenerateResponse answer; reader->Read(&answer); last = answer) text += answer.text();
  REQUIRE(reader->Finish().ok());
  CHECK(text == "all is fine here, then ");
  CHECK(last.finish_reason() == v1::FINISH_REASON_CONTENT_FILTER);
  CHECK(last.content_filter().rule() == "test.rule");
  CHECK(last.content_filter().line() == 1);
}

TEST_CASE("What lies beyond the scanner's limit on findings is hidden like a secret", "[gateway]") {
  Fixture f([](auto& c) { c.output_policy = c.prompt_policy = PolicyPreset::kRedact; });
  f.scanner.truncated = true;
  const json body = ChatBody(kText);
  const json whole = json::parse(f.gateway.Post("/v1/chat/completions", body).body);
  const std::string text = whole["choices"][0]["message"]["content"];
  CHECK(text.find("EVIL") == std::string::npos);
  CHECK(text.find("more follows") == std::string::npos);
  CHECK(text.find("[REDACTED:") != std::string::npos);
  f.gateway.Post("/v1/chat/completions", ChatBody("please JAILBREAK and this\nwords 2"));
  v1::Submit submit;
  REQUIRE(submit.ParseFromString(f.gateway.schedulers[0]->submits().at(1)));
  CHECK(submit.chat().messages(0).content() == "please [REDACTED:test_type]");
}

TEST_CASE("A prompt is refused, cleaned or flagged by policy", "[gateway]") {
  const json body = ChatBody("please JAILBREAK\nwords 2");
  Fixture block([](auto& c) { c.prompt_policy = PolicyPreset::kBlock; });
  const auto refused = block.gateway.Post("/v1/chat/completions", body);
  CHECK(refused.status == 400);
  CHECK(json::parse(refused.body)["error"]["code"] == "content_filter");
  CHECK(block.gateway.schedulers[0]->stats().submits == 0);
  Fixture redact([](auto& c) { c.prompt_policy = PolicyPreset::kRedact; });
  const auto cleaned = redact.gateway.Post("/v1/chat/completions", body);
  CHECK(cleaned.Header("X-Weft-Scan") == "flagged");
  v1::Submit submit;
  REQUIRE(submit.ParseFromString(redact.gateway.schedulers[0]->submits().at(0)));
  CHECK(submit.chat().messages(0).content() == "please [REDACTED:test_type]\nwords 2");
  Fixture flag([](auto&) {});
  const json flagged = json::parse(flag.gateway.Post("/v1/chat/completions", body).body);
  CHECK(flagged["weft"]["prompt_findings"][0]["rule"] == "test.rule");
}

TEST_CASE("A prompt is sanitized until nothing is left to remove, or refused", "[gateway]") {
  Fixture f([](auto& c) { c.prompt_policy = PolicyPreset::kSanitize; });
  const auto submitted = [&](size_t index) {
    v1::Submit submit;
    REQUIRE(submit.ParseFromString(f.gateway.schedulers[0]->submits().at(index)));
    return submit.chat().messages(0).content();
  };
  CHECK(f.gateway.Post("/v1/chat/completions", ChatBody(" words 2 ")).status == 200);
  CHECK(submitted(0) == " words 2 ");  // nothing was found, nothing is changed
  CHECK(f.scanner.sanitized == 0);
  const json answer =
      json::parse(f.gateway.Post("/v1/chat/completions", ChatBody("a JAILBREAK b")).body);
  CHECK(submitted(1) == "a  b");
  CHECK(answer["weft"]["prompt_findings"].size() == 1);
  CHECK(answer["weft"]["prompt_sanitized"] == true);
  f.gateway.Post("/v1/chat/completions", ChatBody("JAILJAILBREAKBREAK words 1"));
  CHECK(submitted(2) == " words 1");
  CHECK(f.scanner.sanitized == 3);
  CHECK(f.gateway.Metric("weft_prompts_sanitized_total") == 2);
  CHECK(f.gateway.Metric("weft_scan_findings_total{action=\"sanitize\",kind=\"prompt\"}") == 2);
  for (const char* prompt : {"JAILBREAK, and slow",
                             "JAILBREAK JAILBREAK JAILBREAK JAILBREAK "
                             "JAILBREAK"}) {
    const auto refused = f.gateway.Post("/v1/chat/completions", ChatBody(prompt));
    CHECK(refused.status == 400);
    CHECK(json::parse(refused.body)["error"]["code"] == "content_filter");
  }
  CHECK(f.gateway.schedulers[0]->stats().submits == 3);

  // gRPC takes the same way.
  const auto stub = v1::InferenceService::NewStub(
      grpc::CreateChannel(f.gateway.server->grpc_address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + f.gateway.admin_key);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  v1::GenerateRequest request;
  request.set_model("fake");
  request.set_prompt("words 1 JAILBREAK");
  const auto reader = stub->Generate(&context, request);
  for (v1::GenerateResponse response; reader->Read(&response);) {
  }
  CHECK(reader->Finish().ok());
  v1::Submit submit;
  REQUIRE(submit.ParseFromString(f.gateway.schedulers[0]->submits().at(3)));
  CHECK(submit.prompt() == "words 1 ");
}

TEST_CASE("Every text of a completion is scanned and sanitized", "[gateway]") {
  Fixture f([](auto& c) { c.prompt_policy = PolicyPreset::kSanitize; });
  const auto submitted = [&](size_t index) {
    v1::Submit submit;
    REQUIRE(submit.ParseFromString(f.gateway.schedulers[0]->submits().at(index)));
    return submit;
  };
  const json prompts = {"words 1", "words 2 JAILBREAK"};
  CHECK(f.gateway.Post("/v1/completions", {{"model", "fake"}, {"prompt", prompts}}).status == 200);
  const std::set<std::string> both = {submitted(0).prompt(), submitted(1).prompt()};
  CHECK(both == std::set<std::string>{"words 1", "words 2 "});
  const json extra = json::array({{{"filename", "a.py"}, {"text", "c JAILBREAK"}}});
  CHECK(f.gateway
            .Post("/infill", {{"input_prefix", "words 1"},
                              {"input_suffix", "JAILBREAK s"},
                              {"input_extra", extra},
                              {"n_predict", 4}})
            .status == 200);
  CHECK(submitted(2).fill_in().prefix() == "words 1");
  CHECK(submitted(2).fill_in().suffix() == " s");
  CHECK(submitted(2).fill_in().extra(0).text() == "c ");
  CHECK(f.gateway.Metric("weft_prompts_sanitized_total") == 2);
}

TEST_CASE("An exception of the policy keeps what sanitizing would remove", "[gateway]") {
  Fixture f([](auto& c) {
    c.prompt_policy = PolicyPreset::kSanitize;
    auto& rule = c.policy_rules.emplace_back();
    rule.rule = "test.rule";
    rule.action = weft::scan::Action::kFlag;
  });
  CHECK(f.gateway.Post("/v1/chat/completions", ChatBody("a JAILBREAK b")).status == 200);
  CHECK(f.scanner.sanitized == 0);
}

TEST_CASE("A scanner that is away or silent lets text pass or refuses it, by configuration",
          "[gateway]") {
  const bool open = GENERATE(true, false);
  Fixture f([&](auto& c) {
    c.output_policy = PolicyPreset::kBlock;
    c.scan.fail_open = open;
  });
  f.scanner.silent = true;
  const auto answer = f.gateway.Post("/v1/chat/completions", ChatBody("words 3"));
  CHECK(answer.status == (open ? 200 : 503));
  CHECK(f.gateway.Metric(std::string("weft_scan_unavailable_total{kind=\"output\",mode=\"") +
                         (open ? "open" : "closed") + "\"}") == 1);
  if (!open) CHECK(json::parse(answer.body)["error"]["code"] == "scanner_unavailable");
}

TEST_CASE("Without any scanner the default policy lets requests pass and counts them",
          "[gateway]") {
  GatewayFixture f([](weft::gateway::Config& c) { c.scanner = "127.0.0.1:1"; });
  CHECK(f.Post("/v1/chat/completions", ChatBody("words 3")).status == 200);
  CHECK(f.Metric("weft_scan_unavailable_total{kind=\"prompt\",mode=\"open\"}") == 1);
  CHECK(f.Metric("weft_scan_unavailable_total{kind=\"output\",mode=\"open\"}") == 1);
}
