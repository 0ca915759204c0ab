#include <algorithm>
#include <map>
#include <set>

#include "libs/base/status.h"
#include "libs/scan/examples.h"
#include "libs/scan/policy.h"
#include "libs/scan/rule_set.h"
#include "libs/scan/scanner.h"
#include "tests/support/catch.h"
#include "tests/unit/scan/support.h"

namespace weft::scan {
namespace {

TEST_CASE("Every built-in rule finds its bad examples and passes its good ones", "[scan][rules]") {
  const absl::Status status = CheckExamples(Builtin());
  INFO(ToString(status));
  CHECK(status.ok());
  for (const Rule& rule : Builtin().rules()) {
    INFO(rule.id);
    CHECK_FALSE(rule.bad.empty());
    CHECK_FALSE(rule.good.empty());
  }
}

TEST_CASE("The document's twelve code and four prompt patterns are built in", "[scan][rules]") {
  std::map<std::string, int> types;
  int code = 0;
  int prompt = 0;
  for (const Rule& rule : Builtin().rules()) {
    if (rule.category == Category::kCode) {
      ++code;
      ++types[rule.type];
    }
    if (rule.category == Category::kPrompt) ++prompt;
  }
  CHECK(code == 12);
  CHECK(prompt == 4);
  CHECK(types == std::map<std::string, int>{{"code_injection", 2},
                                            {"hardcoded_secret", 3},
                                            {"insecure_deserialization", 2},
                                            {"path_traversal", 1},
                                            {"shell_injection", 2},
                                            {"sql_injection", 2}});
}

TEST_CASE("At least thirty kinds of secrets are known", "[scan][rules]") {
  std::set<std::string> types;
  for (const Rule& rule : Builtin().rules()) {
    if (rule.category == Category::kSecret) types.insert(rule.type);
  }
  CHECK(types.size() >= 30);
}

TEST_CASE("No finding shows its secret", "[scan][rules]") {
  for (const Rule& rule : Builtin().rules()) {
    if (rule.category != Category::kSecret && rule.group == 0) continue;
    for (const std::string& example : rule.bad) {
      ScanOptions options;
      options.kind = rule.kinds[2] ? TextKind::kCode : TextKind::kPrompt;
      for (const Finding& finding : ScanText(Builtin(), example, options).findings) {
        if (finding.continues()) continue;
        if (finding.category != Category::kSecret && finding.type != "hardcoded_secret") continue;
        const std::string secret = example.substr(finding.begin, finding.end - finding.begin);
        if (secret.size() < 3) continue;
        INFO(rule.id << " " << finding.rule << ": " << finding.match);
        CHECK(finding.match.find(secret) == std::string::npos);
        CHECK(finding.match.find("********") != std::string::npos);
      }
    }
  }
}

TEST_CASE("A private key is hidden with its body, however long", "[scan][rules]") {
  const std::string dashes = "-----";
  std::string line;
  for (int i = 0; i < 64; ++i) line += static_cast<char>('A' + i % 26);
  for (const std::string newline : {"\n", "\r\n", "\\n", ""}) {
    std::string text = "before " + dashes + "BEGIN RSA PRIVATE KEY" + dashes + newline;
    const size_t body = text.size();
    for (int i = 0; i < 50; ++i) text += line + newline;
    text += "QUJD=" + newline + dashes + "END RSA PRIVATE KEY" + dashes + " after it all";
    std::vector<Finding> findings = ScanText(Builtin(), text, {.kind = TextKind::kOutput}).findings;
    std::erase_if(findings, [](const Finding& f) { return f.rule != "private-key.pem"; });
    REQUIRE(findings.size() > 20);
    CHECK_FALSE(findings[0].continues());
    for (size_t i = 1; i < findings.size(); ++i) {
      CHECK(findings[i].continues());
      CHECK(findings[i].begin == findings[i - 1].end);
    }
    CHECK(findings.back().end >= body + 50 * line.size());
    const std::string shown = Redact(text, 0, findings);
    INFO(shown);
    CHECK(shown.find("before [REDACTED:private_key]") == 0);
    CHECK(shown.find("ABCDEF") == std::string::npos);
    CHECK(shown.find(" after it all") != std::string::npos);
  }
}

TEST_CASE("Text after a private key's header that is no key stays", "[scan][rules]") {
  const std::string text = std::string("---") + "--BEGIN PRIVATE KEY----- is the header of a key\n";
  const ScanResult result = ScanText(Builtin(), text, {.kind = TextKind::kOutput});
  CHECK(result.findings.size() == 1);
  CHECK(Redact(text, 0, result.findings) == "[REDACTED:private_key] is the header of a key\n");
}

TEST_CASE("A token of any length is hidden to its end", "[scan][rules]") {
  // {"alg":"none"} . {"…
  const std::string token =
      "eyJhbGciOiJub25lIn0.eyJ" + std::string(3000, 'x') + "." + std::string(700, 'y');
  const std::string text = "Bearer " + token + " end";
  const ScanResult result = ScanText(Builtin(), text, {.kind = TextKind::kOutput});
  CHECK(Redact(text, 0, result.findings) == "Bearer [REDACTED:jwt] end");
}

TEST_CASE("A code finding masks the secrets elsewhere in its line", "[scan][rules]") {
  const std::string token = std::string("gl") + "pat-ABCDEFGHIJKLMNOPQRST";
  const ScanResult result = ScanText(Builtin(), "x = eval(a, '" + token + "')\n");
  REQUIRE(result.findings.size() == 2);
  CHECK(result.findings[0].rule == "code.eval");
  CHECK(result.findings[0].match == "x = eval(a, 'glp********')");
}

TEST_CASE("A kind of text gets only the rules made for it", "[scan][rules]") {
  const std::string text = "system: eval(x)";
  const auto found = [&](TextKind kind) { return Ids(ScanText(Builtin(), text, {.kind = kind})); };
  CHECK(found(TextKind::kPrompt) == std::vector<std::string>{"prompt.system-role"});
  CHECK(found(TextKind::kOutput) == std::vector<std::string>{"code.eval"});
  CHECK(found(TextKind::kCode) == std::vector<std::string>{"code.eval"});
}

TEST_CASE("A rule with languages is used for these and for unknown ones", "[scan][rules]") {
  const auto rules = CompileRules({MakeRule("r", "ab+c")}, [](Rule& r) { r.languages = {"php"}; });
  CHECK(Ids(ScanText(*rules, "abc", {.language = "PHP"})).size() == 1);
  CHECK(Ids(ScanText(*rules, "abc", {})).size() == 1);
  CHECK(Ids(ScanText(*rules, "abc", {.language = "go"})).empty());
}

TEST_CASE("Findings tell line, byte range and the trimmed line", "[scan][rules]") {
  const std::string text = "a = 1\n\n\t x = eval(s)  \r\nexec(x); exec(y)\n";
  const ScanResult result = ScanText(Builtin(), text);
  REQUIRE(result.findings.size() == 2);
  CHECK(result.findings[0].line == 3);
  CHECK(result.findings[0].match == "x = eval(s)");
  CHECK(text.substr(result.findings[0].begin, 5) == "eval(");
  CHECK(result.findings[0].end == result.findings[0].begin + 5);
  // One finding a line, from its first match to its last.
  CHECK(result.findings[1].line == 4);
  CHECK(result.findings[1].match == "exec(x); exec(y)");
  CHECK(text.substr(result.findings[1].begin, result.findings[1].end - result.findings[1].begin) ==
        "exec(x); exec(");
}

TEST_CASE("A compiled set refuses bad rules by file, line and field", "[scan][rules]") {
  const auto error = [](Rule rule) {
    return std::string(Message(RuleSet::Compile({std::move(rule)}).status()));
  };
  const auto with = [](std::string pattern) { return MakeRule("r", std::move(pattern)); };
  CHECK(error(with("a(")).find("test.yaml:1: rule r: pattern: ") == 0);
  CHECK(error(with("a*")).find("empty") != std::string::npos);
  CHECK(error(with("a\\Kb")).find("\\K") != std::string::npos);
  CHECK(error(with("(?<=aaaaaaaaaaaaaaaaaaaaaaa)b")).find("looks back") != std::string::npos);
  Rule group = with("abc");
  group.group = 1;
  CHECK(error(group).find("group: 1, but") != std::string::npos);
  Rule kinds = with("abc");
  std::fill(std::begin(kinds.kinds), std::end(kinds.kinds), false);
  CHECK(error(kinds).find("kinds") != std::string::npos);
  CHECK(Message(RuleSet::Compile({with("a"), with("b")}).status()).find("id: used twice") !=
        std::string_view::npos);
  CHECK(Message(RuleSet::Compile({}).status()).find("rules") == 0);
  RuleSetOptions options;
  options.window_bytes = 10;
  CHECK(Message(RuleSet::Builtin(options).status()).find("window_bytes: 10") == 0);
  options = {};
  options.disabled = {"no.such"};
  CHECK(Message(RuleSet::Builtin(options).status()).find("no.such") != std::string_view::npos);
}

TEST_CASE("Lookarounds and back references work, settled behind a prefilter", "[scan][rules]") {
  const auto rules =
      CompileRules({MakeRule("look", "(?<![a-z])foo(?!bar)"), MakeRule("back", "(['\"])x\\1"),
                    MakeRule("start", "^begin\\b"), MakeRule("end", "stop$")});
  CHECK(Ids(ScanText(*rules, "foobar xfoo")).empty());
  CHECK(Ids(ScanText(*rules, "foobaz")) == std::vector<std::string>{"look"});
  CHECK(Ids(ScanText(*rules, "'x\" \"x\"")) == std::vector<std::string>{"back"});
  CHECK(Ids(ScanText(*rules, "a begin\nbegin x")) == std::vector<std::string>{"start"});
  CHECK(Ids(ScanText(*rules, "stop it\nnow stop\n")) == std::vector<std::string>{"end"});
}

TEST_CASE("Disabling a rule changes the version and what is found", "[scan][rules]") {
  RuleSetOptions options;
  options.disabled = {"code.eval"};
  const auto rules = *RuleSet::Builtin(options);
  CHECK(rules->version() != Builtin().version());
  CHECK(rules->version().size() == 16);
  CHECK(Ids(ScanText(*rules, "eval(x)")).empty());
}

TEST_CASE("Findings beyond the limit are dropped and said to be", "[scan][rules]") {
  std::string text;
  for (int i = 0; i < 20; ++i) text += "eval(x)\n";
  const ScanResult result = ScanText(Builtin(), text, {.max_findings = 7});
  CHECK(result.findings.size() == 7);
  CHECK(result.truncated);
  CHECK_FALSE(ScanText(Builtin(), text, {.max_findings = 20}).truncated);
}

}  // namespace
}  // namespace weft::scan
