#include "libs/usage/pricing.h"

#include <cmath>

#include "tests/support/catch.h"

namespace weft::usage {
namespace {

TEST_CASE("A request costs what its kinds of tokens cost", "[usage]") {
  const Pricing pricing({{.model = "big", .prompt = 3, .cached_prompt = 0.3, .completion = 15}});
  CHECK(pricing.CostMicros("big", 1000, 0, 0) == 3000);
  CHECK(pricing.CostMicros("big", 1000, 400, 200) == 600 * 3 + 120 + 3000);
  CHECK(pricing.CostMicros("big", 0, 0, 1) == 15);
  CHECK(pricing.CostMicros("big", 1, 5, 0) == 0);  // 0.3 rounds down; more cannot be cached
  CHECK(pricing.CostMicros("other", 1000, 0, 1000) == 0);
}

TEST_CASE("A model's own price comes before the longest beginning that fits", "[usage]") {
  const Pricing pricing({{.model = "*", .prompt = 1},
                         {.model = "code-*", .prompt = 2},
                         {.model = "code-big*", .prompt = 3},
                         {.model = "code-big-7b", .prompt = 4}});
  REQUIRE(pricing.Validate().ok());
  CHECK(pricing.Find("chat")->prompt == 1);
  CHECK(pricing.Find("code-small")->prompt == 2);
  CHECK(pricing.Find("code-big-13b")->prompt == 3);
  CHECK(pricing.Find("code-big-7b")->prompt == 4);
}

TEST_CASE("Prices that make no sense are refused", "[usage]") {
  for (const std::vector<Price>& bad :
       std::vector<std::vector<Price>>{{{.model = ""}},
                                       {{.model = "a*b"}},
                                       {{.model = "a"}, {.model = "a"}},
                                       {{.model = "a", .prompt = -1}},
                                       {{.model = "a", .completion = std::nan("")}},
                                       {{.model = "a", .cached_prompt = 1e10}}}) {
    CHECK(Pricing(bad).Validate().code() == absl::StatusCode::kInvalidArgument);
  }
  CHECK(Pricing().Validate().ok());
}

}  // namespace
}  // namespace weft::usage
