#include "services/worker/wire.h"

#include "libs/base/status.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
namespace v1 = weft::v1;
namespace engine = weft::engine;

namespace {

v1::WorkItem Item() {
  v1::WorkItem item;
  item.set_attempt(3);
  item.add_prompt_ids(1);
  item.add_prompt_ids(2);
  item.add_output_ids(9);
  item.mutable_sampling()->set_seed(77);
  item.mutable_sampling()->set_top_k(4);
  return item;
}

}  // namespace

TEST_CASE("A work item keeps prompt and earlier output apart on its way into the engine",
          "[worker]") {
  v1::WorkItem wire = Item();
  wire.mutable_sampling()->add_logit_bias_ids(5);
  wire.mutable_sampling()->add_logit_bias_values(-2.5F);
  wire.set_timeout_us(1000);
  const weft::SteadyTime now{};
  const auto item = weft::worker::FromWire(wire, now);
  REQUIRE(item.ok());
  CHECK(item->attempt == 3);
  CHECK(item->prompt == std::vector<int32_t>{1, 2});
  CHECK(item->output == std::vector<int32_t>{9});
  CHECK(item->sampling.seed == 77);
  CHECK(item->sampling.top_k == 4);
  CHECK(item->sampling.logit_bias == std::vector<std::pair<int32_t, float>>{{5, -2.5F}});
  CHECK(item->weight == 1.0);
  CHECK(item->deadline == now + 1ms);
}

TEST_CASE("A work item that makes no sense is refused with the field's name", "[worker]") {
  v1::WorkItem wire = Item();
  wire.set_prompt_ids(0, 3'000'000'000u);
  auto item = weft::worker::FromWire(wire, {});
  CHECK(weft::Message(item.status()).substr(0, 11) == "prompt_ids:");

  wire = Item();
  wire.mutable_sampling()->add_logit_bias_ids(5);
  CHECK_FALSE(weft::worker::FromWire(wire, {}).ok());

  wire = Item();
  wire.mutable_sampling()->clear_seed();
  CHECK_FALSE(weft::worker::FromWire(wire, {}).ok());

  wire = Item();
  wire.set_timeout_us(UINT64_MAX);  // saturates
  CHECK(weft::worker::FromWire(wire, weft::SteadyTime{})->deadline > weft::SteadyTime{});
}

TEST_CASE("An engine error's field survives the wire", "[worker]") {
  const v1::RequestError e =
      weft::worker::ToWire(weft::InvalidArgument("sampling.top_p: must be in (0, 1]"));
  CHECK(e.code() == 3);
  CHECK(e.field() == "top_p");
  CHECK(weft::worker::ToWire(weft::Internal("a sentence: with a colon")).field().empty());
}

TEST_CASE("Rows become parallel arrays with their logprobs", "[worker]") {
  engine::StepOutput out;
  out.tokens = {10, 11, 12};
  out.logprobs.resize(2);
  out.logprobs[0].token = 11;
  out.logprobs[0].top_ids = {11, 4};
  out.logprobs[0].top_logprobs = {-0.1F, -2.0F};
  out.logprobs[1].token = 12;
  out.rows.push_back({.id = 1, .attempt = 1, .first_index = 0, .token_begin = 0, .token_count = 1});
  out.rows.push_back({.id = 2,
                      .attempt = 2,
                      .first_index = 5,
                      .token_begin = 1,
                      .token_count = 2,
                      .logprob_begin = 0,
                      .logprob_count = 2});
  v1::StepFrame frame;
  weft::worker::AddRow(out, out.rows[0], 70, &frame);
  weft::worker::AddRow(out, out.rows[1], 71, &frame);
  CHECK(frame.handles_size() == 2);
  CHECK(frame.first_indexes(1) == 5);
  CHECK(frame.token_ids_size() == 3);
  REQUIRE(frame.logprobs_size() == 1);
  CHECK(frame.logprobs(0).handle() == 71);
  CHECK(frame.logprobs(0).tokens(0).top_ids_size() == 2);
}
