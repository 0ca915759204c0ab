#include "services/scheduler/dispatcher.h"

#include "tests/support/catch.h"
#include "tests/unit/scheduler/fakes.h"

using namespace std::chrono_literals;
using weft::scheduler::DispatcherOptions;
using weft::scheduler::testing::Bench;
namespace v1 = weft::v1;

TEST_CASE("Dispatcher runs a request from submit to finish", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(7));
  REQUIRE(b.answers[7].accepted);
  REQUIRE(b.workers[1].items.size() == 1);
  const v1::WorkItem item = b.workers[1].items[0];
  CHECK(item.request_id() == "r7");
  CHECK(item.attempt() >= 1);
  CHECK(item.prompt_ids_size() == 3);
  CHECK(item.sampling().seed() == 5);
  CHECK(item.timeout_us() > 0);

  b.Row(1, item, 0, {1});
  CHECK(b.answers[7].text == "1 ");
  b.Row(1, item, 1, {2, 3});
  b.Row(1, item, 3, {0}, v1::FINISH_REASON_STOP);
  const auto& answer = b.answers[7];
  CHECK(answer.text == "1 2 3 ");  // the last token of a STOP has no text
  CHECK(answer.tokens == std::vector<uint32_t>{1, 2, 3, 0});
  REQUIRE(answer.finished);
  CHECK(answer.finished->reason() == v1::FINISH_REASON_STOP);
  CHECK(answer.finished->usage().prompt_tokens() == 3);
  CHECK(answer.finished->usage().completion_tokens() == 4);
  CHECK(answer.finished->attempts() == 1);
  CHECK(b.dispatcher.idle());
}

TEST_CASE("Dispatcher answers one step of many streams with one frame", "[scheduler]") {
  Bench b;
  b.AddWorker(1, 300);  // some of it is kept for other tenants
  for (uint32_t h = 1; h <= 256; ++h) b.Submit(Bench::Request(h));
  b.Wait(100ms);
  REQUIRE(b.workers[1].items.size() == 256);
  const int before = b.gateway_frames;
  v1::StepFrame frame;
  for (const v1::WorkItem& item : b.workers[1].items) Bench::AddRow(frame, item, 0, {9});
  b.dispatcher.OnStepFrame(1, std::move(frame));
  b.Settle();
  CHECK(b.gateway_frames == before + 1);
  for (uint32_t h = 1; h <= 256; ++h) CHECK(b.answers[h].text == "9 ");
}

TEST_CASE("Dispatcher merges deltas while a gateway is slow, and gives it up in the end",
          "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(1));
  const v1::WorkItem item = b.workers[1].items.at(0);
  b.gateway_stuck = true;
  b.Row(1, item, 0, {1});  // takes the session's one write
  const int before = b.gateway_frames;
  for (uint32_t i = 1; i < 10; ++i) b.Row(1, item, i, {i});
  CHECK(b.gateway_frames == before);
  b.gateway_stuck = false;
  b.dispatcher.OnGatewayWritable(1);
  b.Settle();
  CHECK(b.gateway_frames == before + 1);
  CHECK(b.answers[1].tokens.size() == 10);

  b.gateway_stuck = true;
  b.Row(1, item, 10, {1});
  b.Row(1, item, 11, {1});
  for (int i = 0; i < 31; ++i) b.Wait(1s);
  CHECK(b.gateway_closed_with == 8);
  b.dispatcher.OnGatewayClosed(1);
  b.Settle();
  CHECK(b.workers[1].cancels == std::vector<uint32_t>{item.handle()});
}

TEST_CASE("Dispatcher stops at a stop string and cancels the rest at the worker", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  v1::Submit s = Bench::Request(1);
  s.add_stop("2 3");
  s.mutable_sampling()->set_logprobs(true);
  b.Submit(s);
  const v1::WorkItem item = b.workers[1].items.at(0);
  const auto row = [&](uint32_t index, uint32_t token) {
    v1::StepFrame frame;
    Bench::AddRow(frame, item, index, {token});
    v1::RowLogprobs& l = *frame.add_logprobs();
    l.set_handle(item.handle());
    l.add_tokens()->set_token_id(token);
    b.dispatcher.OnStepFrame(1, std::move(frame));
    b.Settle();
  };
  row(0, 1);
  row(1, 2);
  CHECK(b.answers[1].text == "1 ");  // "2 " may begin the stop string
  CHECK(b.answers[1].logprobs.size() == 1);
  CHECK(b.answers[1].logprobs[0].text() == "1 ");
  row(2, 3);
  REQUIRE(b.answers[1].finished);
  CHECK(b.answers[1].text == "1 ");
  CHECK(b.answers[1].logprobs.size() == 1);
  CHECK(b.answers[1].finished->stop_string() == "2 3");
  CHECK(b.answers[1].finished->usage().completion_tokens() == 1);
  CHECK(b.workers[1].cancels == std::vector<uint32_t>{item.handle()});
  // Tokens that were under way are dropped; the room is free after the worker confirms.
  row(3, 4);
  CHECK(b.answers[1].tokens.size() == 1);
  CHECK(b.stale_rows == 1);
}

TEST_CASE("Dispatcher cancels within the same round, running or waiting", "[scheduler]") {
  Bench b;
  b.AddWorker(1, 1);
  b.Submit(Bench::Request(1));
  b.Submit(Bench::Request(2));
  b.Cancel(2);
  CHECK(b.answers[2].finished->reason() == v1::FINISH_REASON_CANCELLED);
  b.Cancel(1);
  CHECK(b.answers[1].finished->reason() == v1::FINISH_REASON_CANCELLED);
  CHECK(b.workers[1].cancels.size() == 1);
  // The worker's one place is taken until it confirms.
  b.Submit(Bench::Request(3));
  CHECK(b.workers[1].items.size() == 1);
  b.Row(1, b.workers[1].items[0], 0, {}, v1::FINISH_REASON_CANCELLED);
  CHECK(b.workers[1].items.size() == 2);
}

TEST_CASE("Dispatcher cancels everything of a gateway that goes away", "[scheduler]") {
  Bench b;
  b.AddWorker(1, 2);
  for (uint32_t h = 1; h <= 5; ++h) b.Submit(Bench::Request(h));
  b.dispatcher.OnGatewayClosed(1);
  b.Settle();
  CHECK(b.workers[1].cancels.size() == 2);
  CHECK(b.dispatcher.idle());
  CHECK(b.dispatcher.waiting() == 0);
}

TEST_CASE("Dispatcher refuses what cannot run, naming the field", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  v1::Submit unknown = Bench::Request(1);
  unknown.set_model("nope");
  b.Submit(unknown);
  CHECK(b.answers[1].finished->error().code() == 5);
  CHECK(b.answers[1].finished->error().field() == "model");

  b.Submit(Bench::Request(2, std::string(512, 'x')));
  CHECK(b.answers[2].finished->error().code() == 3);
  CHECK(b.answers[2].finished->error().field() == "prompt");
  CHECK(b.answers[2].finished->error().message().find("512") != std::string::npos);

  v1::Submit bad = Bench::Request(3);
  bad.mutable_sampling()->set_temperature(9);
  b.Submit(bad);
  CHECK(b.answers[3].finished->error().field() == "temperature");
  CHECK(b.workers[1].items.empty());
}

TEST_CASE("Dispatcher cuts max_tokens to the room that the context leaves", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  v1::Submit s = Bench::Request(1, std::string(500, 'x'));
  s.mutable_sampling()->set_max_tokens(4096);
  b.Submit(s);
  CHECK(b.workers[1].items.at(0).sampling().max_tokens() == 12);
}

TEST_CASE("Dispatcher bounds its queue and says when to try again", "[scheduler]") {
  DispatcherOptions options;
  options.queue_capacity = 3;
  Bench b(options);
  b.AddWorker(1, 1);
  for (uint32_t h = 1; h <= 5; ++h) b.Submit(Bench::Request(h));
  REQUIRE(b.answers[5].finished);
  CHECK(b.answers[5].finished->error().code() == 8);
  CHECK(b.answers[5].finished->error().retry_after().seconds() >= 1);
  CHECK_FALSE(b.answers[4].finished);
}

TEST_CASE("Dispatcher refuses when too many prompts are being tokenised", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.prepare_full = true;
  b.Submit(Bench::Request(1));
  CHECK(b.answers[1].finished->error().code() == 8);
}

TEST_CASE("Dispatcher ends requests at their deadline, waiting or running", "[scheduler]") {
  Bench b;
  b.AddWorker(1, 1);
  v1::Submit s = Bench::Request(1);
  s.mutable_timeout()->set_seconds(2);
  b.Submit(s);
  s.set_handle(2);
  b.Submit(s);
  b.Wait(1900ms);
  CHECK_FALSE(b.answers[1].finished);
  b.Wait(200ms);
  CHECK(b.answers[1].finished->error().code() == 4);
  CHECK(b.answers[2].finished->error().code() == 4);
  CHECK(b.workers[1].cancels.size() == 1);
}

TEST_CASE("Dispatcher ends a session that uses a handle twice", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(1));
  b.Submit(Bench::Request(1));
  CHECK(b.gateway_closed_with == 3);
}

TEST_CASE("Dispatcher waits for a first worker, then for its tokenizer", "[scheduler]") {
  Bench b;
  b.tokenizer_there = false;
  b.Submit(Bench::Request(1));
  CHECK_FALSE(b.answers[1].finished);
  b.AddWorker(1);
  CHECK_FALSE(b.answers[1].accepted);
  b.tokenizer_there = true;
  b.dispatcher.OnTokenizer("t");
  b.Settle();
  CHECK(b.answers[1].accepted);
  CHECK(b.workers[1].items.size() == 1);
}

TEST_CASE("Dispatcher drops a request that was cancelled while it was tokenised", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.hold_prepare = true;
  b.Submit(Bench::Request(1));
  b.Cancel(1);
  b.hold_prepare = false;
  b.Settle();
  CHECK(b.workers[1].items.empty());
  CHECK(b.dispatcher.idle());
}

TEST_CASE("Dispatcher resumes a request that another scheduler began", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  v1::Submit s = Bench::Request(1);
  s.clear_prompt();
  s.mutable_sampling()->clear_seed();
  s.mutable_resume()->add_prompt_ids(65);
  s.mutable_resume()->add_output_ids(1);
  s.mutable_resume()->add_output_ids(2);
  s.mutable_resume()->set_seed(99);
  s.mutable_resume()->set_text_bytes_delivered(3);
  b.answers[1].tokens = {1, 2};
  b.answers[1].text = "1 2";
  b.Submit(s);
  const v1::WorkItem item = b.workers[1].items.at(0);
  CHECK(item.output_ids_size() == 2);
  CHECK(item.sampling().seed() == 99);
  b.Row(1, item, 2, {3}, v1::FINISH_REASON_LENGTH);
  CHECK(b.answers[1].text == "1 2 3 ");
  CHECK(b.answers[1].tokens == std::vector<uint32_t>{1, 2, 3});
  CHECK(b.answers[1].finished->usage().completion_tokens() == 3);
}

TEST_CASE("A request runs on the version that made its first token", "[scheduler]") {
  Bench b;
  v1::Submit s = Bench::Request(1);
  s.mutable_resume()->add_prompt_ids(65);
  s.mutable_resume()->add_output_ids(1);
  s.mutable_resume()->set_seed(99);
  s.mutable_resume()->set_model_version("v1");
  s.mutable_resume()->set_text_bytes_delivered(2);
  b.answers[1].text = "1 ";
  SECTION("a resumed one passes the others by") {
    b.answers[1].tokens = {1};
    b.AddWorker(1, 64, "m", "cpu", "t", "v1");
    b.AddWorker(2, 64, "m", "cpu", "t", "v2");
    b.Submit(s);
    CHECK(b.workers[2].items.empty());
    REQUIRE(b.workers[1].items.size() == 1);
    b.Row(1, b.workers[1].items[0], 1, {2}, v1::FINISH_REASON_LENGTH);
    CHECK(b.answers[1].text == "1 2 ");
  }
  SECTION("a resumed one waits for it") {
    b.answers[1].tokens = {1};
    b.AddWorker(2, 64, "m", "cpu", "t", "v2");
    b.Submit(s);
    b.Wait(5s);
    CHECK_FALSE(b.answers[1].finished);
    b.AddWorker(1, 64, "m", "cpu", "t", "v1");
    CHECK(b.workers[1].items.size() == 1);
    CHECK(b.workers[2].items.empty());
  }
  SECTION("a resumed one fails clearly without it, and holds nobody up") {
    b.AddWorker(2, 64, "m", "cpu", "t", "v2");
    b.Submit(s);
    b.Submit(Bench::Request(2));
    CHECK(b.workers[2].items.size() == 1);
    b.Wait(11s);
    REQUIRE(b.answers[1].finished);
    CHECK(b.answers[1].finished->error().code() == 14);
    CHECK_THAT(b.answers[1].finished->error().message(), ContainsSubstring("version v1"));
  }
  SECTION("one whose worker is lost does not go on elsewhere") {
    b.AddWorker(1, 64, "m", "cpu", "t", "v1");
    b.Submit(Bench::Request(2));
    b.Row(1, b.workers[1].items.at(0), 0, {1});
    b.AddWorker(2, 64, "m", "cpu", "t", "v2");
    b.Lose(1);
    CHECK(b.workers[2].items.empty());
    b.AddWorker(3, 64, "m", "cpu", "t", "v1");
    CHECK(b.workers[3].items.size() == 1);
  }
  SECTION("one without a token does, and the gateway is told") {
    b.AddWorker(1, 64, "m", "cpu", "t", "v1");
    b.Submit(Bench::Request(2));
    CHECK(b.answers[2].version == "v1");
    b.AddWorker(2, 64, "m", "cpu", "t", "v2");
    b.Lose(1);
    REQUIRE(b.workers[2].items.size() == 1);
    CHECK(b.answers[2].version == "v2");
  }
  SECTION("one with log probabilities of its prompt does not") {
    b.AddWorker(1, 64, "m", "cpu", "t", "v1");
    v1::Submit scored = Bench::Request(2);
    scored.mutable_sampling()->set_logprobs(true);
    scored.mutable_sampling()->set_prompt_logprobs(true);
    b.Submit(scored);
    const v1::WorkItem& item = b.workers[1].items.at(0);
    v1::StepFrame frame;
    v1::RowPromptLogprobs& l = *frame.add_prompt_logprobs();
    l.set_handle(item.handle());
    l.set_attempt(item.attempt());
    l.set_first_position(1);
    l.add_tokens()->set_token_id('b');
    b.dispatcher.OnStepFrame(1, std::move(frame));
    b.Settle();
    b.AddWorker(2, 64, "m", "cpu", "t", "v2");
    b.Lose(1);
    CHECK(b.workers[2].items.empty());
    b.AddWorker(3, 64, "m", "cpu", "t", "v1");
    CHECK(b.workers[3].items.size() == 1);
  }
}

TEST_CASE("What a drain has no time for is handed over, not ended", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(1));
  b.Row(1, b.workers[1].items.at(0), 0, {1});
  b.hold_prepare = true;
  b.Submit(Bench::Request(2));
  b.dispatcher.BeginDrain();
  b.Settle();
  b.dispatcher.HandOver();
  b.Settle();
  CHECK(b.dispatcher.idle());
  CHECK(b.workers[1].cancels.size() == 1);
  CHECK(b.answers[1].text == "1 ");
  CHECK_FALSE(b.answers[1].finished);
  CHECK_FALSE(b.answers[2].finished);
}

TEST_CASE("Dispatcher that drains refuses new requests and finishes running ones", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(1));
  b.dispatcher.BeginDrain();
  b.Settle();
  CHECK(b.gateway_told_draining);
  b.Submit(Bench::Request(2));
  CHECK(b.answers[2].finished->error().code() == 14);
  CHECK_FALSE(b.dispatcher.idle());
  b.Row(1, b.workers[1].items[0], 0, {1}, v1::FINISH_REASON_LENGTH);
  CHECK(b.answers[1].finished->reason() == v1::FINISH_REASON_LENGTH);
  CHECK(b.dispatcher.idle());
}
