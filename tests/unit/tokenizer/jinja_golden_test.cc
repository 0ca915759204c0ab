// Replays what Python's jinja2 makes of templates: tests/data/tokenizer/make_jinja_goldens.py.
// WEFT_JINJA_CASES names another file of the same form (public_templates.sh makes one of models'
// own templates).
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/tokenizer/chat_template.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

class NoonClock final : public Clock {
 public:
  SteadyTime Now() const override { return {}; }
  WallTime Wall() const override { return WallTime(std::chrono::seconds(1769860800)); }
};

TEST_CASE("Templates render as Python's jinja2 renders them", "[jinja]") {
  const char* const other = std::getenv("WEFT_JINJA_CASES");
  std::ifstream in(other != nullptr ? other : "tests/data/tokenizer/jinja_cases.json");
  REQUIRE(in);
  const auto golden = nlohmann::ordered_json::parse(in);
  const NoonClock clock;  // 2026-01-31 12:00 UTC
  size_t wrong = 0;
  size_t errors = 0;
  for (const auto& item : golden["cases"]) {
    const auto source = golden["templates"][item[0].get<size_t>()].get<std::string>();
    const auto& variables = golden["variables"][item[1].get<size_t>()];
    const auto parsed = ChatTemplate::Parse(source);
    const absl::StatusOr<std::string> out =
        parsed.ok() ? parsed->RenderWith(variables, &clock) : parsed.status();
    const bool should_fail = item.size() == 2;
    errors += should_fail ? 1 : 0;
    if (out.ok() != should_fail && (should_fail || *out == item[2].get<std::string>())) {
      if (!out.ok() && Message(out.status()).find("template line ") != 0) {
        UNSCOPED_INFO("no line in the error: " << Message(out.status()));
        ++wrong;
      }
      continue;
    }
    ++wrong;
    UNSCOPED_INFO(
        "template: " << source.substr(0, 300) << "\n  variables " << item[1] << "\n  gives "
                     << (out.ok() ? nlohmann::json(*out).dump(
                                        -1, ' ', false, nlohmann::json::error_handler_t::replace)
                                  : ToString(out.status()))
                     << "\n  not   " << (should_fail ? "an error" : item[2].dump()));
  }
  CHECK(wrong == 0);
  CHECK(errors > 100);
}

}  // namespace
}  // namespace weft
