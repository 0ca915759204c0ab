// What completions offer beyond one prompt and one answer, and /infill, over a fake scheduler.
#include "tests/integration/gateway/gateway_fixture.h"
#include "tests/support/catch.h"
#include "weft/v1/scheduler.pb.h"

using nlohmann::json;
using weft::test::Events;
using weft::test::GatewayFixture;

namespace {

json Body(const weft::test::RawHttp::Answer& answer) {
  CAPTURE(answer.body);
  REQUIRE(answer.status == 200);
  return json::parse(answer.body);
}

}  // namespace

TEST_CASE("Several prompts in one completion are answered in order", "[gateway]") {
  GatewayFixture f;
  const json body = Body(
      f.Post("/v1/completions", {{"model", "fake"}, {"n", 2}, {"prompt", {"words 1", "words 3"}}}));
  REQUIRE(body["choices"].size() == 4);
  for (size_t i = 0; i < 4; ++i) {
    CHECK(body["choices"][i]["index"] == i);
    CHECK(body["choices"][i]["text"] == (i < 2 ? "w0" : "w0 w1 w2"));
  }
  CHECK(body["usage"]["prompt_tokens"] == 14);  // each prompt once
  CHECK(body["usage"]["completion_tokens"] == 8);
  for (const std::string& bytes : f.schedulers[0]->submits()) {
    weft::v1::Submit submit;
    REQUIRE(submit.ParseFromString(bytes));
    CHECK(submit.choice() < 2);
  }
  const auto stream = f.Post(
      "/v1/completions", {{"model", "fake"}, {"stream", true}, {"prompt", {"words 1", "words 3"}}});
  std::map<int, std::string> texts;
  for (const json& event : Events(stream.body)) {
    if (!event.is_object()) continue;
    for (const json& choice : event["choices"]) {
      texts[choice["index"].get<int>()] += choice["text"].get<std::string>();
    }
  }
  CHECK(texts == std::map<int, std::string>{{0, "w0"}, {1, "w0 w1 w2"}});
  const auto refused =
      f.Post("/v1/completions", {{"model", "fake"}, {"prompt", {"words 1", "error 3 no"}}});
  CHECK(refused.status == 400);
}

TEST_CASE("best_of answers with the likeliest", "[gateway]") {
  GatewayFixture f;
  const json body = Body(f.Post(
      "/v1/completions",
      {{"model", "fake"}, {"prompt", "words 2"}, {"n", 2}, {"best_of", 4}, {"logprobs", 0}}));
  REQUIRE(body["choices"].size() == 2);
  // The fake's later choices are likelier.
  CHECK(body["choices"][0]["logprobs"]["token_logprobs"][0] == -0.125);
  CHECK(body["choices"][0]["index"] == 0);
  CHECK(body["choices"][1]["logprobs"]["token_logprobs"][0].get<double>() < -0.16);
  CHECK(body["usage"]["completion_tokens"] == 8);  // all four were run
  const json plain =
      Body(f.Post("/v1/completions", {{"model", "fake"}, {"prompt", "words 2"}, {"best_of", 2}}));
  REQUIRE(plain["choices"].size() == 1);
  CHECK(plain["choices"][0]["logprobs"].is_null());
}

TEST_CASE("echo with logprobs shows the prompt's too", "[gateway]") {
  GatewayFixture f;
  json ask = {{"model", "fake"}, {"prompt", "words 2"}, {"echo", true}, {"logprobs", 1}};
  const json choice = Body(f.Post("/v1/completions", ask))["choices"][0];
  CHECK(choice["text"] == "words 2w0 w1");
  const json& logprobs = choice["logprobs"];
  REQUIRE(logprobs["tokens"].size() == 7 + 2);
  CHECK(logprobs["tokens"][1] == "o");
  CHECK(logprobs["token_logprobs"][0].is_null());
  CHECK(logprobs["top_logprobs"][0].is_null());
  CHECK(logprobs["token_logprobs"][1] == -0.25);
  CHECK(logprobs["token_logprobs"][7] == -0.5);
  CHECK(logprobs["text_offset"] == json({0, 1, 2, 3, 4, 5, 6, 7, 9}));

  ask["max_tokens"] = 0;
  const json scored = Body(f.Post("/v1/completions", ask))["choices"][0];
  CHECK(scored["text"] == "words 2");
  CHECK(scored["logprobs"]["tokens"].size() == 7);
  CHECK(scored["finish_reason"] == "length");

  ask["stream"] = true;
  ask["max_tokens"] = 2;
  std::string text;
  size_t tokens = 0;
  for (const json& event : Events(f.Post("/v1/completions", ask).body)) {
    if (!event.is_object()) continue;
    text += event["choices"][0]["text"].get<std::string>();
    if (!event["choices"][0]["logprobs"].is_null()) {
      tokens += event["choices"][0]["logprobs"]["tokens"].size();
    }
  }
  CHECK(text == "words 2w0 w1");
  CHECK(tokens == 9);

  const json ids =
      Body(f.Post("/v1/completions",
                  {{"model", "fake"}, {"prompt", {1, 2, 3}}, {"echo", true}, {"max_tokens", 1}}));
  CHECK(ids["choices"][0]["text"] == "token textw0");
}

TEST_CASE("No tokens is an answer, and no prompt a prompt", "[gateway]") {
  GatewayFixture f;
  json ask = {{"model", "fake"}, {"prompt", "words 2"}, {"max_tokens", 0}, {"n", 2}};
  const json body = Body(f.Post("/v1/completions", ask));
  REQUIRE(body["choices"].size() == 2);
  for (const json& choice : body["choices"]) {
    CHECK(choice["text"] == "");
    CHECK(choice["finish_reason"] == "length");
  }
  CHECK(body["usage"]["prompt_tokens"] == 7);
  CHECK(body["usage"]["completion_tokens"] == 0);
  ask["stream"] = true;
  const auto events = Events(f.Post("/v1/completions", ask).body);
  REQUIRE(events.size() == 3);
  CHECK(events[0]["choices"][0]["finish_reason"] == "length");
  CHECK(events[1]["choices"][0]["finish_reason"] == "length");
  CHECK(events[2] == "[DONE]");
  CHECK(
      Body(f.Post("/v1/completions", {{"model", "fake"}, {"prompt", ""}}))["choices"][0]["text"] ==
      "w0 w1 w2 w3 w4");
  CHECK(Body(f.Post(
            "/v1/completions",
            {{"model", "fake"}, {"prompt", nullptr}, {"echo", true}}))["choices"][0]["text"] ==
        "w0 w1 w2 w3 w4");
}

TEST_CASE("/infill answers in llama.cpp's shape", "[gateway]") {
  GatewayFixture f;
  json ask = {{"input_prefix", "words 3"},
              {"input_suffix", "s"},
              {"n_predict", 8},
              {"cache_prompt", true},
              {"samplers", {"top_k"}}};
  const json body = Body(f.Post("/infill", ask));
  CHECK(body["content"] == "w0 w1 w2");
  CHECK(body["stop"] == true);
  CHECK(body["stop_type"] == "eos");
  CHECK(body["model"] == "fake");
  CHECK(body["tokens_predicted"] == 3);
  CHECK(body["tokens_evaluated"] == 7);
  CHECK(body["truncated"] == false);
  CHECK(body["has_new_line"] == false);
  CHECK(body["timings"]["prompt_n"] == 4);  // three of seven were cached
  CHECK(body["timings"]["cache_n"] == 3);
  weft::v1::Submit submit;
  REQUIRE(submit.ParseFromString(f.schedulers[0]->submits().back()));
  CHECK(submit.fill_in().suffix() == "s");

  ask["response_fields"] = {"content", "timings/predicted_n", "nothing/here", ""};
  CHECK(Body(f.Post("/infill", ask)) == json{{"content", "w0 w1 w2"}, {"timings/predicted_n", 3}});
  ask.erase("response_fields");
  ask["n_cmpl"] = 2;
  const json two = Body(f.Post("/infill", ask));
  REQUIRE(two.size() == 2);
  CHECK(two[1]["index"] == 1);
  ask["n_cmpl"] = 1;
  ask["n_predict"] = 2;
  ask["stream"] = true;
  std::string text;
  json last;
  for (const json& event : Events(f.Post("/infill", ask).body)) {
    text += event["content"].get<std::string>();
    last = event;
  }
  CHECK(text == "w0 w1");
  CHECK(last["stop"] == true);
  CHECK(last["stop_type"] == "limit");
  CHECK(f.Post("/infill", {{"input_prefix", "x"}}).status == 400);
}

TEST_CASE("A completion with a suffix is filled in", "[gateway]") {
  GatewayFixture f;
  const json body =
      Body(f.Post("/v1/completions",
                  {{"model", "fake"}, {"prompt", "words 2"}, {"suffix", "tail"}, {"echo", true}}));
  CHECK(body["choices"][0]["text"] == "words 2w0 w1");
  weft::v1::Submit submit;
  REQUIRE(submit.ParseFromString(f.schedulers[0]->submits().back()));
  CHECK(submit.fill_in().prefix() == "words 2");
  CHECK(submit.fill_in().suffix() == "tail");
}
