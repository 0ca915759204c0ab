// Against Python's re: tests/data/scan/make_goldens.py made the goldens.
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "libs/scan/sanitize.h"
#include "libs/scan/scanner.h"
#include "tests/support/catch.h"
#include "tests/unit/scan/support.h"

namespace weft::scan {
namespace {

using Issue = std::tuple<uint32_t, std::string, std::string, std::string>;

nlohmann::json Goldens() {
  std::ifstream in("tests/data/scan/goldens.json");
  REQUIRE(in.good());
  return nlohmann::json::parse(in);
}

TEST_CASE("The twelve code patterns find what Python's re finds in each line", "[scan][python]") {
  const nlohmann::json goldens = Goldens();
  REQUIRE(goldens.size() > 500);
  size_t issues = 0;
  for (const auto& golden : goldens) {
    const std::string text = golden["text"];
    std::multiset<Issue> expected;
    for (const auto& issue : golden["issues"]) {
      expected.emplace(issue[3].get<uint32_t>(), issue[0], issue[1], issue[2]);
    }
    std::multiset<Issue> found;
    for (const Finding& f : ScanText(Builtin(), text, {.mask_secrets = false}).findings) {
      if (f.category == Category::kCode) found.emplace(f.line, f.rule, f.type, f.match);
    }
    INFO(golden["text"].dump());
    CHECK(found == expected);
    issues += expected.size();
  }
  CHECK(issues > 300);
}

TEST_CASE("The prompt sanitiser gives what Python's gives", "[scan][python]") {
  size_t changed = 0;
  for (const auto& golden : Goldens()) {
    const std::string text = golden["text"];
    const auto clean = SanitizePrompt(Builtin(), text);
    REQUIRE(clean.ok());
    INFO(golden["text"].dump());
    CHECK(*clean == golden["sanitized"].get<std::string>());
    if (*clean != text) ++changed;
  }
  CHECK(changed > 100);
}

}  // namespace
}  // namespace weft::scan
