#include "libs/scan/policy.h"

#include <random>

#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft::scan {
namespace {

Finding Make(uint64_t begin, uint64_t end, std::string type = "t",
             Category category = Category::kSecret, Severity severity = Severity::kHigh) {
  Finding f;
  f.rule = "rule." + type;
  f.type = std::move(type);
  f.category = category;
  f.severity = severity;
  f.match = "********";
  f.begin = begin;
  f.end = end;
  return f;
}

TEST_CASE("Names of kinds, severities, categories and actions parse back", "[scan][policy]") {
  for (TextKind kind : {TextKind::kPrompt, TextKind::kOutput, TextKind::kCode}) {
    TextKind parsed{};
    REQUIRE(Parse(Name(kind), parsed));
    CHECK(parsed == kind);
  }
  for (int i = 0; i < 5; ++i) {
    Severity parsed{};
    REQUIRE(Parse(Name(static_cast<Severity>(i)), parsed));
    CHECK(parsed == static_cast<Severity>(i));
  }
  for (Action action : {Action::kOff, Action::kFlag, Action::kRedact, Action::kBlock}) {
    Action parsed{};
    REQUIRE(Parse(Name(action), parsed));
    CHECK(parsed == action);
  }
  Category category{};
  CHECK(Parse("secret", category));
  CHECK(category == Category::kSecret);
  CHECK_FALSE(Parse("Secret", category));
  Action action{};
  CHECK_FALSE(Parse("", action));
}

TEST_CASE("The last policy rule that matches decides, then the default", "[scan][policy]") {
  Policy policy;
  const Finding secret = Make(0, 4);
  CHECK(Evaluate(policy, TextKind::kOutput, secret) == Action::kRedact);
  CHECK(Evaluate(policy, TextKind::kCode, secret) == Action::kFlag);

  policy.rules.push_back({.category = Category::kSecret, .action = Action::kBlock});
  CHECK(Evaluate(policy, TextKind::kOutput, secret) == Action::kBlock);
  policy.rules.push_back({.kind = TextKind::kOutput, .type = "t", .action = Action::kOff});
  CHECK(Evaluate(policy, TextKind::kOutput, secret) == Action::kOff);
  CHECK(Evaluate(policy, TextKind::kPrompt, secret) == Action::kBlock);
  policy.rules.push_back({.rule = "rule.u", .action = Action::kFlag});
  CHECK(Evaluate(policy, TextKind::kPrompt, secret) == Action::kBlock);
}

TEST_CASE("A minimum severity keeps lesser findings out of a policy rule", "[scan][policy]") {
  Policy policy;
  policy.rules.push_back({.min_severity = Severity::kHigh, .action = Action::kBlock});
  CHECK(Evaluate(policy, TextKind::kOutput, Make(0, 1, "t", Category::kCode, Severity::kMedium)) ==
        Action::kFlag);
  CHECK(Evaluate(policy, TextKind::kOutput, Make(0, 1, "t", Category::kCode, Severity::kHigh)) ==
        Action::kBlock);
}

TEST_CASE("NeverBeyond tells whether text must be held back", "[scan][policy]") {
  Policy policy;
  CHECK_FALSE(NeverBeyond(policy, TextKind::kOutput, Action::kFlag));
  CHECK(NeverBeyond(policy, TextKind::kOutput, Action::kRedact));
  CHECK(NeverBeyond(policy, TextKind::kCode, Action::kFlag));
  policy.rules.push_back({.type = "t", .action = Action::kBlock});
  CHECK_FALSE(NeverBeyond(policy, TextKind::kCode, Action::kFlag));
}

TEST_CASE("A decision names the first blocking finding and orders redactions", "[scan][policy]") {
  Policy policy;
  policy.rules.push_back({.type = "stop", .action = Action::kBlock});
  const std::vector<Finding> findings = {Make(30, 40), Make(20, 25, "stop"), Make(10, 12, "stop"),
                                         Make(1, 3), Make(0, 1, "x", Category::kPrompt)};
  const Decision decision = Decide(policy, TextKind::kOutput, findings);
  CHECK(decision.action == Action::kBlock);
  REQUIRE(decision.blocked_by);
  CHECK(*decision.blocked_by == 2);
  CHECK(decision.redact == std::vector<size_t>{3, 0});
  CHECK(decision.flagged == std::vector<size_t>{0, 1, 2, 3});
}

TEST_CASE("Too many policy rules are refused by name", "[scan][policy]") {
  Policy policy;
  policy.rules.resize(257);
  CHECK(Message(policy.Validate()).find("rules: 257") != std::string_view::npos);
}

TEST_CASE("Redaction replaces ranges and merges those that overlap", "[scan][policy]") {
  const std::string text = "0123456789";
  CHECK(Redact(text, 0, {}) == text);
  CHECK(Redact(text, 0, std::vector{Make(2, 4)}) == "01[REDACTED:t]456789");
  CHECK(Redact(text, 0, std::vector{Make(5, 8, "b"), Make(2, 6, "a")}) == "01[REDACTED:a]89");
  CHECK(Redact(text, 0, std::vector{Make(2, 4, "a"), Make(4, 6, "b")}) ==
        "01[REDACTED:a][REDACTED:b]6789");
  CHECK(Redact(text, 0, std::vector{Make(8, 12, "a")}) == "01234567[REDACTED:a]");
  CHECK(Redact(text, 100, std::vector{Make(90, 103, "a")}) == "3456789");
  CHECK(Redact(text, 100, std::vector{Make(0, 5, "a"), Make(200, 210, "b")}) == text);
}

TEST_CASE("A finding that continues another is hidden under its mark", "[scan][policy]") {
  std::vector<Finding> findings = {Make(2, 4), Make(4, 6), Make(6, 8)};
  findings[1].match.clear();
  findings[2].match.clear();
  CHECK(Redact("0123456789", 0, findings) == "01[REDACTED:t]89");
  CHECK(Redact("456789", 4, findings) == "89");
  CHECK(Redact("6789", 6, findings) == "89");
}

TEST_CASE("Redacting pieces gives the pieces of the redacted whole", "[scan][policy]") {
  std::mt19937 random(7);
  std::string text;
  for (int i = 0; i < 60; ++i) text += static_cast<char>('a' + i % 26);
  for (int round = 0; round < 500; ++round) {
    std::vector<Finding> findings;
    for (unsigned i = 0; i < random() % 5; ++i) {
      const uint64_t begin = random() % 55;
      findings.push_back(Make(begin, begin + 1 + random() % 12, std::string(1, char('A' + i))));
      if (random() % 3 == 0) {
        findings.push_back(Make(findings.back().end, findings.back().end + 4));
        findings.back().match.clear();
      }
    }
    const std::string whole = Redact(text, 0, findings);
    const size_t a = random() % 61;
    const size_t b = a + random() % (61 - a);
    const std::string_view view = text;
    CHECK(Redact(view.substr(0, a), 0, findings) + Redact(view.substr(a, b - a), a, findings) +
              Redact(view.substr(b), b, findings) ==
          whole);
  }
}

TEST_CASE("A prompt over the limit is refused by name, or cut at a character", "[scan][policy]") {
  std::string prompt = "h\xC3\xA9llo";
  CHECK(CountCharacters(prompt) == 5);
  CHECK(ApplyLimit({.max_characters = 5}, "prompt", prompt).ok());
  CHECK(prompt.size() == 6);
  const absl::Status status = ApplyLimit({.max_characters = 4}, "messages[0].content", prompt);
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Message(status) == "messages[0].content: 5 characters, at most 4 are allowed");
  CHECK(ApplyLimit({.max_characters = 2, .over = OverLimit::kTruncate}, "prompt", prompt).ok());
  CHECK(prompt == "h\xC3\xA9");
}

TEST_CASE("Sanitize is for what prompt rules find in prompts; elsewhere it redacts", "[scan]") {
  Policy policy;
  policy.rules.push_back({.action = Action::kSanitize});
  Finding finding;
  finding.category = Category::kPrompt;
  CHECK(Evaluate(policy, TextKind::kPrompt, finding) == Action::kSanitize);
  CHECK(Evaluate(policy, TextKind::kOutput, finding) == Action::kRedact);
  finding.category = Category::kSecret;
  CHECK(Evaluate(policy, TextKind::kPrompt, finding) == Action::kRedact);
  std::vector<Finding> both(2);
  both[0].category = Category::kPrompt;
  both[1].category = Category::kSecret;
  const Decision decision = Decide(policy, TextKind::kPrompt, both);
  CHECK(decision.action == Action::kRedact);
  CHECK(decision.sanitize == std::vector<size_t>{0});
  CHECK(decision.redact == std::vector<size_t>{1});
  CHECK(decision.flagged.size() == 2);
  CHECK_FALSE(NeverBeyond(policy, TextKind::kPrompt, Action::kFlag));
  Action parsed{};
  CHECK(Parse("sanitize", parsed));
  CHECK(parsed == Action::kSanitize);
  CHECK(Name(Action::kBlock) == "block");
}

}  // namespace
}  // namespace weft::scan
