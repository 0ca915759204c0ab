#include "services/scheduler/dispatcher.h"
#include "tests/support/catch.h"
#include "tests/unit/scheduler/fakes.h"

using namespace std::chrono_literals;
using weft::scheduler::DispatcherOptions;
using weft::scheduler::testing::Bench;
namespace v1 = weft::v1;

TEST_CASE("A lost worker's sequence goes on elsewhere with prompt and tokens so far",
          "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(1));
  const v1::WorkItem first = b.workers[1].items.at(0);
  b.Row(1, first, 0, {1});
  b.Row(1, first, 1, {2});
  b.AddWorker(2);
  b.Lose(1);
  REQUIRE(b.workers[2].items.size() == 1);
  const v1::WorkItem second = b.workers[2].items[0];
  CHECK(second.attempt() > first.attempt());
  CHECK(second.output_ids_size() == 2);
  CHECK(second.sampling().seed() == first.sampling().seed());
  b.Row(2, second, 2, {3}, v1::FINISH_REASON_LENGTH);
  CHECK(b.answers[1].text == "1 2 3 ");
  CHECK(b.answers[1].tokens == std::vector<uint32_t>{1, 2, 3});
  CHECK(b.answers[1].finished->reason() == v1::FINISH_REASON_LENGTH);
  CHECK(b.answers[1].finished->attempts() == 2);
}

TEST_CASE("A sequence whose last token came before its worker was lost just ends", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  v1::Submit s = Bench::Request(1);
  s.mutable_sampling()->set_max_tokens(2);
  b.Submit(s);
  b.Row(1, b.workers[1].items.at(0), 0, {1, 2});
  b.AddWorker(2);
  b.Lose(1);
  CHECK(b.workers[2].items.empty());
  CHECK(b.answers[1].finished->reason() == v1::FINISH_REASON_LENGTH);
  CHECK(b.answers[1].text == "1 2 ");
  CHECK(b.dispatcher.idle());
}

TEST_CASE("A silent worker is given up, and what it says later is not heard", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(1));
  const v1::WorkItem first = b.workers[1].items.at(0);
  b.Row(1, first, 0, {1});
  b.AddWorker(2);
  b.workers[1].mute = true;
  for (int i = 0; i < 6; ++i) b.Wait(1s);
  CHECK(b.workers[1].broken);
  CHECK(b.lost_workers == 1);
  const v1::WorkItem second = b.workers[2].items.at(0);
  b.Row(2, second, 1, {2});
  b.Row(1, first, 1, {7});  // it wakes up
  b.Row(2, second, 2, {3}, v1::FINISH_REASON_LENGTH);
  CHECK(b.answers[1].tokens == std::vector<uint32_t>{1, 2, 3});
}

TEST_CASE("Workers that fall silent make nobody a suspect", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(1));
  b.Submit(Bench::Request(2));
  // Frozen hosts, one after the other: more of them than crashes that would fail a request.
  for (uint64_t worker = 1; worker <= 4; ++worker) {
    REQUIRE(b.workers[worker].items.size() == 2);  // side by side, not alone
    b.AddWorker(worker + 1);
    b.workers[worker].mute = true;
    for (int i = 0; i < 6; ++i) b.Wait(1s);
    CHECK(b.workers[worker].broken);
  }
  const v1::WorkItem last = b.workers[5].items.at(0);
  b.Row(5, last, 0, {1}, v1::FINISH_REASON_LENGTH);
  CHECK(b.answers[1].finished->reason() == v1::FINISH_REASON_LENGTH);
}

TEST_CASE("A worker whose engine has work but runs no layer is given up", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.AddWorker(2);
  b.Submit(Bench::Request(1));
  REQUIRE(b.workers[1].items.size() == 1);
  const auto stats = [&](uint64_t layers) {
    v1::StepFrame frame;
    v1::EngineStats& s = *frame.add_stats();
    s.set_model("m");
    s.set_running(1);
    s.set_layer_progress(layers);
    b.dispatcher.OnStepFrame(1, std::move(frame));
  };
  // A long prefill: layers move though no step ends.
  for (uint64_t i = 0; i < 40; ++i) {
    stats(i);
    b.Wait(1s);
  }
  CHECK_FALSE(b.workers[1].broken);
  for (int i = 0; i < 16; ++i) {
    stats(39);
    b.Wait(1s);
  }
  CHECK(b.workers[1].broken);
  REQUIRE(b.workers[2].items.size() == 1);
  // It answers in a new session and still hangs: it gets nothing.
  b.AddWorker(1);
  b.Lose(2);
  b.workers[1].items.clear();
  for (int i = 0; i < 3; ++i) {
    stats(39);
    b.Wait(1s);
  }
  CHECK(b.workers[1].items.empty());
  SECTION("until it moves") {
    stats(40);
    b.Settle();
    CHECK(b.workers[1].items.size() == 1);
  }
  SECTION("and requests do not wait for it") {
    for (int i = 0; i < 10; ++i) {
      stats(39);
      b.Wait(1s);
    }
    REQUIRE(b.answers[1].finished);
    CHECK(b.answers[1].finished->error().code() == 14);
  }
}

TEST_CASE("A frame that contradicts the log ends the worker's session, not the request",
          "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  v1::Submit submit = Bench::Request(1);
  submit.mutable_sampling()->set_logprobs(true);
  submit.mutable_sampling()->set_prompt_logprobs(true);
  b.Submit(submit);
  const v1::WorkItem first = b.workers[1].items.at(0);
  b.Row(1, first, 0, {1});
  b.AddWorker(2);
  SECTION("a repeated index") { b.Row(1, first, 0, {1}); }
  SECTION("a hole") { b.Row(1, first, 2, {3}); }
  SECTION("arrays of different length") {
    v1::StepFrame frame;
    frame.add_handles(first.handle());
    b.dispatcher.OnStepFrame(1, std::move(frame));
    b.Settle();
  }
  SECTION("fewer ids than announced") {
    v1::StepFrame frame;
    Bench::AddRow(frame, first, 1, {2});
    frame.set_token_counts(0, 4000000000u);
    b.dispatcher.OnStepFrame(1, std::move(frame));
    b.Settle();
  }
  SECTION("a token beyond the vocabulary") { b.Row(1, first, 1, {2, 256}); }
  SECTION("more tokens than asked for") {
    b.Row(1, first, 1, std::vector<uint32_t>(16, 7));  // 17 of 16
  }
  SECTION("log probabilities beyond the vocabulary") {
    v1::StepFrame frame;
    Bench::AddRow(frame, first, 1, {2});
    v1::RowLogprobs& l = *frame.add_logprobs();
    l.set_handle(first.handle());
    l.add_tokens()->add_top_ids(4'000'000'000U);
    b.dispatcher.OnStepFrame(1, std::move(frame));
    b.Settle();
  }
  SECTION("log probabilities of the prompt beyond the vocabulary") {
    v1::StepFrame frame;
    v1::RowPromptLogprobs& l = *frame.add_prompt_logprobs();
    l.set_handle(first.handle());
    l.set_attempt(first.attempt());
    l.set_first_position(1);
    l.add_tokens()->set_token_id(256);
    b.dispatcher.OnStepFrame(1, std::move(frame));
    b.Settle();
  }
  SECTION("log probabilities of the prompt with a hole") {
    v1::StepFrame frame;
    v1::RowPromptLogprobs& l = *frame.add_prompt_logprobs();
    l.set_handle(first.handle());
    l.set_attempt(first.attempt());
    l.set_first_position(2);
    l.add_tokens()->set_token_id(1);
    b.dispatcher.OnStepFrame(1, std::move(frame));
    b.Settle();
  }
  CHECK(b.workers[1].broken);
  const v1::WorkItem second = b.workers[2].items.at(0);
  CHECK(b.answers[1].tokens == std::vector<uint32_t>{1});
  b.Row(2, second, 1, {2}, v1::FINISH_REASON_LENGTH);
  CHECK(b.answers[1].tokens == std::vector<uint32_t>{1, 2});
}

TEST_CASE("All workers dead: requests wait, then fail with a clear UNAVAILABLE", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(1));
  b.Lose(1);
  b.Wait(5s);
  b.Submit(Bench::Request(2));
  b.Wait(4900ms);
  CHECK_FALSE(b.answers[1].finished);
  b.Wait(200ms);
  REQUIRE(b.answers[1].finished);
  CHECK(b.answers[1].finished->error().code() == 14);
  CHECK(b.answers[1].finished->error().has_retry_after());
  CHECK_FALSE(b.answers[2].finished);  // it came later
  SECTION("a worker that comes in time saves it") {
    b.AddWorker(2);
    CHECK(b.workers[2].items.size() == 1);
  }
  SECTION("else it fails as well") {
    b.Wait(5s);
    CHECK(b.answers[2].finished->error().code() == 14);
    CHECK(b.dispatcher.idle());
  }
}

TEST_CASE("No worker ever came: requests fail with UNAVAILABLE", "[scheduler]") {
  Bench b;
  b.Submit(Bench::Request(1));
  b.Wait(9900ms);
  CHECK_FALSE(b.answers[1].finished);
  b.Wait(200ms);
  CHECK(b.answers[1].finished->error().code() == 14);
}

TEST_CASE("A request that kills every worker runs alone once, then fails alone", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(1));  // the killer
  b.Submit(Bench::Request(2));  // innocent
  const auto handle_of = [&](uint64_t link, const std::string& id) {
    for (const v1::WorkItem& item : b.workers[link].items) {
      if (item.request_id() == id) return item;
    }
    return v1::WorkItem();
  };
  for (uint64_t link = 1; link <= 2; ++link) {
    if (link > 1) b.AddWorker(link);
    b.Row(link, handle_of(link, "r2"), static_cast<uint32_t>(link - 1), {5});
    b.Lose(link);
  }
  // Both were there twice. One at a time now.
  b.AddWorker(3);
  REQUIRE(b.workers[3].items.size() == 1);
  CHECK(b.workers[3].items[0].request_id() == "r1");
  CHECK(b.ran_alone == 1);
  b.Lose(3);
  REQUIRE(b.answers[1].finished);
  CHECK(b.answers[1].finished->error().code() == 13);
  CHECK_FALSE(b.answers[2].finished);

  b.AddWorker(4);
  REQUIRE(b.workers[4].items.size() == 1);
  const v1::WorkItem innocent = b.workers[4].items[0];
  CHECK(innocent.request_id() == "r2");
  CHECK(innocent.output_ids_size() == 2);
  b.Submit(Bench::Request(3));
  CHECK(b.workers[4].items.size() == 1);  // it must run alone …
  b.Row(4, innocent, 2, {5, 5});
  CHECK(b.workers[4].items.size() == 2);  // … until it is past the place where workers died
  b.Row(4, innocent, 4, {5}, v1::FINISH_REASON_LENGTH);
  CHECK(b.answers[2].tokens.size() == 5);
}

TEST_CASE("A suspect empties one worker; the others go on", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(1));
  b.Lose(1);
  b.AddWorker(2);
  b.Lose(2);
  b.AddWorker(3, 64);
  REQUIRE(b.workers[3].items.size() == 1);
  b.AddWorker(4, 64);
  b.Submit(Bench::Request(2));
  CHECK(b.workers[3].items.size() == 1);
  CHECK(b.workers[4].items.size() == 1);
}

TEST_CASE("A worker that drains gets nothing new, and its going away is no loss", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(1));
  const v1::WorkItem first = b.workers[1].items.at(0);
  v1::StepFrame frame;
  frame.set_draining(true);
  b.dispatcher.OnStepFrame(1, std::move(frame));
  b.AddWorker(2);
  b.Submit(Bench::Request(2));
  CHECK(b.workers[1].items.size() == 1);
  CHECK(b.workers[2].items.size() == 1);
  b.Row(1, first, 0, {1});
  b.Lose(1);  // its grace period is over
  CHECK(b.workers[2].items.size() == 2);
  CHECK(b.ran_alone == 0);
  CHECK_FALSE(b.answers[1].finished);
}

TEST_CASE("Prefilling again after a loss is throttled", "[scheduler]") {
  DispatcherOptions options;
  options.redispatch_tokens = 250;
  Bench b(options);
  b.AddWorker(1);
  for (uint32_t h = 1; h <= 6; ++h) b.Submit(Bench::Request(h, std::string(100, 'x')));
  b.AddWorker(2);
  b.Lose(1);
  REQUIRE(b.workers[2].items.size() == 2);
  CHECK(b.workers[2].items[0].request_id() == "r1");  // the oldest first
  b.Row(2, b.workers[2].items[0], 0, {1});            // its prefill is over
  CHECK(b.workers[2].items.size() == 3);
}

TEST_CASE("A request that is interrupted again and again fails in the end", "[scheduler]") {
  DispatcherOptions options;
  options.max_attempts = 3;
  options.suspect_losses = 100;
  Bench b(options);
  b.Submit(Bench::Request(1));
  for (uint64_t link = 1; link <= 3; ++link) {
    b.AddWorker(link);
    REQUIRE(b.workers[link].items.size() == 1);
    b.Lose(link);
  }
  CHECK(b.answers[1].finished->error().code() == 13);
}

TEST_CASE("Failover to another numerics class happens when it must, and is counted",
          "[scheduler]") {
  Bench b;
  b.AddWorker(1, 64, "m", "avx");
  b.AddWorker(2, 64, "m", "gpu");
  b.Submit(Bench::Request(1));
  REQUIRE(b.workers[1].items.size() == 1);
  b.AddWorker(3, 64, "m", "avx");
  b.Lose(1);
  CHECK(b.workers[3].items.size() == 1);
  CHECK(b.other_numerics == 0);
  b.Lose(3);
  b.AddWorker(4, 64, "m", "gpu");
  b.Settle();
  CHECK(b.other_numerics == 1);
}

TEST_CASE("A hundred streams survive the loss of their worker exactly", "[scheduler]") {
  Bench b;
  b.AddWorker(1, 256);
  for (uint32_t h = 1; h <= 100; ++h) {
    v1::Submit s = Bench::Request(h);
    s.mutable_sampling()->set_max_tokens(40);
    b.Submit(s);
  }
  b.Wait(60ms);
  REQUIRE(b.workers[1].items.size() == 100);
  // Token i of stream h is (h + i) mod 200. Streams are at different places when the worker dies.
  const auto token = [](const v1::WorkItem& item, uint32_t i) {
    return (static_cast<uint32_t>(std::stoul(item.request_id().substr(1))) + i) % 200;
  };
  for (uint32_t i = 0; i < 20; ++i) {
    v1::StepFrame frame;
    for (const v1::WorkItem& item : b.workers[1].items) {
      if (item.handle() % 20 >= i) Bench::AddRow(frame, item, i, {token(item, i)});
    }
    b.dispatcher.OnStepFrame(1, std::move(frame));
    b.Settle();
  }
  b.AddWorker(2, 256);
  b.Lose(1);
  REQUIRE(b.workers[2].items.size() == 100);
  const std::vector<v1::WorkItem> resumed = b.workers[2].items;
  for (const v1::WorkItem& item : resumed) {
    for (auto i = static_cast<uint32_t>(item.output_ids_size()); i < 40; ++i) {
      b.Row(2, item, i, {token(item, i)},
            i == 39 ? v1::FINISH_REASON_LENGTH : v1::FINISH_REASON_UNSPECIFIED);
    }
  }
  for (uint32_t h = 1; h <= 100; ++h) {
    REQUIRE(b.answers[h].finished);
    CHECK(b.answers[h].finished->reason() == v1::FINISH_REASON_LENGTH);
    REQUIRE(b.answers[h].tokens.size() == 40);
    for (uint32_t i = 0; i < 40; ++i) CHECK(b.answers[h].tokens[i] == (h + i) % 200);
  }
}

TEST_CASE("Requests of a model that was replaced under its name do not hold up new ones",
          "[scheduler]") {
  Bench b;
  b.AddWorker(1, 1);
  b.Submit(Bench::Request(1));
  b.Row(1, b.workers[1].items.at(0), 0, {1});
  b.Submit(Bench::Request(2));  // no room yet
  b.AddWorker(2, 8, "m", "cpu", "another tokenizer");
  b.Lose(1);
  REQUIRE(b.answers[2].finished);  // never ran: may be sent again
  CHECK(b.answers[2].finished->error().code() == 14);
  b.Submit(Bench::Request(3));
  REQUIRE(b.workers[2].items.size() == 1);
  CHECK(b.workers[2].items[0].request_id() == "r3");

  CHECK_FALSE(b.answers[1].finished);  // its worker may come back …
  b.AddWorker(3);
  REQUIRE(b.workers[3].items.size() == 1);
  CHECK(b.workers[3].items[0].output_ids_size() == 1);
  b.Lose(3);
  for (int i = 0; i < 11; ++i) b.Wait(1s);  // … and is not waited for for ever
  REQUIRE(b.answers[1].finished);
  CHECK(b.answers[1].finished->error().code() == 14);
}
