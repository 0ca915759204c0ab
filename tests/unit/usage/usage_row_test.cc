#include "libs/usage/usage_row.h"

#include "tests/support/catch.h"

namespace weft::usage {
namespace {

TEST_CASE("A row is the same after a way through JSON", "[usage]") {
  UsageRow row;
  row.id = "018f";
  CHECK(FromJson(ToJson(row)).value() == row);
  row = {.id = "1",
         .tenant = "acme",
         .project = "p",
         .user = "user:\"x\"\n",
         .key_id = "k",
         .model = "m",
         .model_version = "v",
         .endpoint = "/generate",
         .outcome = "stop",
         .prompt_tokens = 12,
         .cached_prompt_tokens = 4,
         .completion_tokens = 1'000'000'000'000,
         .cost_micros = 77,
         .cached = true,
         .duration_ms = 5,
         .created_at_us = 1'790'000'000'000'000};
  CHECK(FromJson(ToJson(row)).value() == row);
  CHECK(ToJson(row).find('\n') == std::string::npos);
}

TEST_CASE("Text that is no row is refused", "[usage]") {
  for (const char* bad :
       {"", "{", "[]", "null", "{}", R"({"id":""})", R"({"id":7})", R"({"id":"a","tenant":1})",
        R"({"id":"a","prompt_tokens":-1})", R"({"id":"a","prompt_tokens":1.5})",
        R"({"id":"a","prompt_tokens":"1"})", R"({"id":"a","cost_micros":18446744073709551615})",
        R"({"id":"a","cached":1})"}) {
    INFO(bad);
    CHECK(FromJson(bad).status().code() == absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace weft::usage
