#include "libs/sampling/params.h"

#include <cmath>
#include <functional>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft::sampling {
namespace {

TEST_CASE("SamplingParams takes its defaults and the ends of every range", "[sampling]") {
  CHECK(SamplingParams{}.Validate(10).ok());
  SamplingParams p;
  p.temperature = 2.0F;
  p.top_p = 1e-6F;
  p.min_p = 1.0F;
  p.top_k = 1000000;
  p.repetition_penalty = 10.0F;
  p.presence_penalty = -2.0F;
  p.frequency_penalty = 2.0F;
  p.min_tokens = p.max_tokens;
  p.top_logprobs = 20;
  p.stop_token_ids.assign(64, 9);
  p.logit_bias.assign(1024, {0, -100.0F});
  CHECK(p.Validate(10).ok());
}

TEST_CASE("SamplingParams names the field that is out of range", "[sampling]") {
  using Change = std::function<void(SamplingParams&)>;
  const std::vector<std::pair<std::string, Change>> cases = {
      {"temperature", [](auto& p) { p.temperature = -0.1F; }},
      {"temperature", [](auto& p) { p.temperature = NAN; }},
      {"top_p", [](auto& p) { p.top_p = 0.0F; }},
      {"top_p", [](auto& p) { p.top_p = 1.5F; }},
      {"min_p", [](auto& p) { p.min_p = 1.1F; }},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = 0.0F; }},
      {"presence_penalty", [](auto& p) { p.presence_penalty = INFINITY; }},
      {"frequency_penalty", [](auto& p) { p.frequency_penalty = -2.5F; }},
      {"prompt_logprobs", [](auto& p) { p.prompt_logprobs = true; }},
      {"min_tokens", [](auto& p) { p.min_tokens = 17; }},
      {"top_logprobs", [](auto& p) { p.top_logprobs = 21; }},
      {"stop_token_ids", [](auto& p) { p.stop_token_ids.assign(97, 1); }},
      {"stop_token_ids[1]",
       [](auto& p) {
         p.stop_token_ids = {1, 10};
       }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias.assign(1025, {1, 0.0F});
       }},
      {"logit_bias[0]",
       [](auto& p) {
         p.logit_bias = {{-1, 0.0F}};
       }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias = {{1, 101.0F}};
       }},
  };
  for (const auto& [field, change] : cases) {
    SamplingParams p;
    change(p);
    const absl::Status status = p.Validate(10);
    INFO(field << ": " << ToString(status));
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(Message(status).starts_with("sampling." + field + ": "));
    CHECK(FieldOf(status) == "sampling." + field);
  }
}

}  // namespace
}  // namespace weft::sampling
