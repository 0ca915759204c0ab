#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/scan/rule_set.h"
#include "libs/scan/scanner.h"
#include "tests/support/catch.h"
#include "tests/unit/scan/support.h"

namespace weft::scan {
namespace {

constexpr std::string_view kRule = R"(rules:
  - id: a.b
    type: t
    category: secret
    severity: low
    message: m
    pattern: 'ab(c)'
    kinds: [prompt]
    bad: [abc]
)";

std::string With(std::string_view line) { return std::string(kRule) + "    " + std::string(line); }

std::string Error(std::string_view yaml) {
  return std::string(Message(ParseRules(yaml, "r.yaml").status()));
}

TEST_CASE("A rule takes its defaults from its category", "[scan][yaml]") {
  const auto rules = ParseRules(kRule, "r.yaml");
  REQUIRE(rules.ok());
  REQUIRE(rules->size() == 1);
  const Rule& rule = rules->front();
  CHECK(rule.id == "a.b");
  CHECK(rule.where == "r.yaml:2");
  CHECK(rule.scope == Scope::kLine);
  CHECK(rule.report == Report::kMatch);
  CHECK(rule.kinds[0]);
  CHECK_FALSE(rule.kinds[1]);
  CHECK_FALSE(rule.caseless);
}

TEST_CASE("Every field of a rule is read", "[scan][yaml]") {
  const auto rules = ParseRules(With("scope: text\n    report: match\n    group: 1\n"
                                     "    entropy: 2.5\n    checks: [jwt, crc32_base62]\n"
                                     "    flags: [caseless, unicode]\n    languages: [Go]\n"
                                     "    good: [x, [y, z]]\n"),
                                "r.yaml");
  INFO(ToString(rules.status()));
  REQUIRE(rules.ok());
  const Rule& rule = rules->front();
  CHECK(rule.scope == Scope::kText);
  CHECK(rule.group == 1);
  CHECK(rule.min_entropy == 2.5);
  CHECK(rule.checks == std::vector<Check>{Check::kJwt, Check::kCrc32Base62});
  CHECK((rule.caseless && rule.unicode));
  CHECK(rule.languages == std::vector<std::string>{"go"});
  CHECK(rule.good == std::vector<std::string>{"x", "yz"});
}

TEST_CASE("Bad rules are refused with file, line and field", "[scan][yaml]") {
  CHECK(Error(With("colour: red")).find("rules.colour: r.yaml:10: unknown field") == 0);
  CHECK(Error(With("group: x")).find("r.yaml:10: expected a number from 0 to 16") !=
        std::string::npos);
  CHECK(Error(With("group: -1")).find("expected a number") != std::string::npos);
  CHECK(Error(With("entropy: 9")).find("from 0 to 8") != std::string::npos);
  CHECK(Error(With("flags: [greedy]")).find("\"greedy\" is none of") != std::string::npos);
  CHECK(Error(With("checks: [md5]")).find("\"md5\" is none of") != std::string::npos);
  CHECK(Error(With("scope: file")).find("\"file\" is none of") != std::string::npos);
  CHECK(Error(With("report: line\n    scope: text")).find("report") != std::string::npos);
  CHECK(Error(With("good: {}")).find("expected a list") != std::string::npos);
  CHECK(Error("rules: [{id: a}]").find("the rule has no field \"type\"") != std::string::npos);
  CHECK(Error("rules: x").find("holds a list") != std::string::npos);
  CHECK(Error("a: [\n").find("r.yaml") != std::string::npos);
  std::string id(kRule);
  id.replace(id.find("a.b"), 3, "A B");
  CHECK(Error(id).find("rules.id: r.yaml:2: \"A B\": expected at most 64") == 0);
}

struct TemporaryDirectory {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("weft-" + NewRequestId());
  TemporaryDirectory() { std::filesystem::create_directories(path); }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
  void Write(const std::string& name, std::string_view text) const {
    std::ofstream(path / name) << text;
  }
};

TEST_CASE("A rules directory adds rules and replaces built-in ones by id", "[scan][yaml]") {
  const TemporaryDirectory directory;
  std::string replaced(kRule);
  replaced.replace(replaced.find("a.b"), 3, "code.eval");
  directory.Write("b.yaml", kRule);
  directory.Write("c.yaml", replaced);
  directory.Write("ignored.txt", "not yaml: [");
  const auto rules = RuleSet::WithDirectory(directory.path.string());
  INFO(ToString(rules.status()));
  REQUIRE(rules.ok());
  CHECK((*rules)->rules().size() == Builtin().rules().size() + 1);
  CHECK(Ids(ScanText(**rules, "abc", {.kind = TextKind::kPrompt})).size() == 2);
  CHECK(Ids(ScanText(**rules, "eval(x)")).empty());
}

TEST_CASE("A rules directory is checked as a whole", "[scan][yaml]") {
  const TemporaryDirectory directory;
  CHECK_FALSE(RuleSet::WithDirectory((directory.path / "none").string()).ok());
  directory.Write("a.yaml", std::string(kRule) + std::string(kRule.substr(kRule.find('\n') + 1)));
  CHECK(Message(RuleSet::WithDirectory(directory.path.string()).status()).find("used twice") !=
        std::string_view::npos);
  directory.Write("a.yaml", With("good: [xabcx]"));
  CHECK(Message(RuleSet::WithDirectory(directory.path.string()).status())
            .find("rule a.b: good[0] is found") != std::string_view::npos);
  std::string wrong(kRule);
  wrong.replace(wrong.find("[abc]"), 5, "[xyz]");
  directory.Write("a.yaml", wrong);
  CHECK(Message(RuleSet::WithDirectory(directory.path.string()).status())
            .find("rule a.b: bad[0] is not found") != std::string_view::npos);
}

}  // namespace
}  // namespace weft::scan
