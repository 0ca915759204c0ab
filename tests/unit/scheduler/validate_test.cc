#include "services/scheduler/validate.h"

#include <limits>

#include "tests/support/catch.h"
#include "tests/unit/scheduler/fakes.h"

using weft::scheduler::SubmitLimits;
using weft::scheduler::ValidateForModel;
using weft::scheduler::ValidateSubmit;
using weft::scheduler::testing::Bench;
namespace v1 = weft::v1;

namespace {

template <typename F>
std::string FieldAtFault(F change, const SubmitLimits& limits = {}) {
  v1::Submit s = Bench::Request(1);
  change(s);
  const auto error = ValidateSubmit(s, limits);
  if (!error) return "";
  CHECK(error->code() == 3);
  CHECK(error->message().rfind(error->field(), 0) == 0);  // the message names the field first
  return error->field();
}

}  // namespace

TEST_CASE("ValidateSubmit takes a plain request", "[scheduler]") {
  CHECK(FieldAtFault([](v1::Submit&) {}).empty());
}

TEST_CASE("ValidateSubmit names the sampling field that is out of range", "[scheduler]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(FieldAtFault([](auto& s) { s.mutable_sampling()->set_temperature(-0.1F); }) ==
        "temperature");
  CHECK(FieldAtFault([&](auto& s) { s.mutable_sampling()->set_temperature(nan); }) ==
        "temperature");
  CHECK(FieldAtFault([](auto& s) { s.mutable_sampling()->set_top_p(0); }) == "top_p");
  CHECK(FieldAtFault([&](auto& s) { s.mutable_sampling()->set_top_p(nan); }) == "top_p");
  CHECK(FieldAtFault([](auto& s) { s.mutable_sampling()->set_min_p(1.5F); }) == "min_p");
  CHECK(FieldAtFault([](auto& s) { s.mutable_sampling()->set_repetition_penalty(0); }) ==
        "repetition_penalty");
  CHECK(FieldAtFault([](auto& s) { s.mutable_sampling()->set_presence_penalty(3); }) ==
        "presence_penalty");
  CHECK(FieldAtFault([](auto& s) { s.mutable_sampling()->set_frequency_penalty(-3); }) ==
        "frequency_penalty");
  CHECK(FieldAtFault([](auto& s) { s.mutable_sampling()->set_prompt_logprobs(true); }) ==
        "prompt_logprobs");
  CHECK(FieldAtFault([](auto& s) { s.mutable_sampling()->set_min_tokens(17); }) == "min_tokens");
  CHECK(FieldAtFault([](auto& s) { s.mutable_sampling()->add_logit_bias_ids(1); }) == "logit_bias");
  CHECK(FieldAtFault([](auto& s) {
          s.mutable_sampling()->add_logit_bias_ids(1);
          s.mutable_sampling()->add_logit_bias_values(101);
        }) == "logit_bias");
  CHECK(FieldAtFault([](auto& s) { s.mutable_sampling()->set_top_logprobs(3); }) == "top_logprobs");
}

TEST_CASE("ValidateSubmit bounds prompts, messages and stop strings", "[scheduler]") {
  SubmitLimits limits;
  limits.max_prompt_bytes = 100;
  CHECK(FieldAtFault([](auto& s) { s.set_prompt(std::string(101, 'x')); }, limits) == "prompt");
  CHECK(FieldAtFault([](auto& s) { s.mutable_chat(); }) == "messages");
  CHECK(FieldAtFault(
            [](auto& s) { s.mutable_chat()->add_messages()->set_content(std::string(101, 'x')); },
            limits) == "messages");
  CHECK(FieldAtFault([](auto& s) { s.mutable_tokens(); }) == "tokens");
  CHECK(FieldAtFault([](auto& s) { s.clear_prompt(); }) == "prompt");
  CHECK(FieldAtFault([](auto& s) { s.add_stop(""); }) == "stop");
  CHECK(FieldAtFault([](auto& s) { s.add_stop(std::string(257, 'x')); }) == "stop");
  CHECK(FieldAtFault([](auto& s) {
          for (int i = 0; i < 17; ++i) s.add_stop("x");
        }) == "stop");
  CHECK(FieldAtFault([](auto& s) { s.set_weight(-1); }) == "weight");
  CHECK(FieldAtFault([](auto& s) { s.mutable_timeout()->set_seconds(-1); }) == "timeout");
}

TEST_CASE("ValidateForModel checks the context and the vocabulary", "[scheduler]") {
  v1::ModelInfo model;
  model.set_id("m");
  model.set_context_length(8);
  model.set_vocab_size(10);
  v1::Submit s = Bench::Request(1);
  CHECK_FALSE(ValidateForModel(s, model, 7));
  CHECK(ValidateForModel(s, model, 8)->field() == "prompt");
  CHECK(ValidateForModel(s, model, 0)->field() == "prompt");
  s.mutable_sampling()->add_stop_token_ids(10);
  CHECK(ValidateForModel(s, model, 3)->field() == "stop_token_ids");
  s = Bench::Request(1);
  s.mutable_tokens()->add_ids(10);
  CHECK(ValidateForModel(s, model, 1)->field() == "tokens");
}
