#include "services/scheduler/dispatcher.h"
#include "tests/support/catch.h"
#include "tests/unit/scheduler/fakes.h"

using namespace std::chrono_literals;
using weft::scheduler::DispatcherOptions;
using weft::scheduler::testing::Bench;
namespace v1 = weft::v1;

TEST_CASE("A request goes at once to a worker that prefills fewer than max_batch_size",
          "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  for (uint32_t h = 1; h <= 8; ++h) {
    b.Submit(Bench::Request(h));
    CHECK(b.workers[1].items.size() == h);
  }
}

TEST_CASE("Requests gather while all workers prefill, and go out together", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  for (uint32_t h = 1; h <= 8; ++h) b.Submit(Bench::Request(h));
  const int frames = b.workers[1].frames;

  SECTION("when the first has waited max_wait") {
    b.Submit(Bench::Request(9));
    b.Wait(30ms);
    b.Submit(Bench::Request(10));
    CHECK(b.workers[1].items.size() == 8);
    CHECK(b.dispatcher.NextWake() <= b.clock.Now() + 20ms);
    b.Wait(20ms);
    CHECK(b.workers[1].items.size() == 10);
    CHECK(b.workers[1].frames == frames + 1);
  }
  SECTION("when max_batch_size wait") {
    for (uint32_t h = 9; h <= 15; ++h) b.Submit(Bench::Request(h));
    CHECK(b.workers[1].items.size() == 8);
    b.Submit(Bench::Request(16));
    CHECK(b.workers[1].items.size() == 16);
    CHECK(b.workers[1].frames == frames + 1);
  }
  SECTION("or when a prefill has ended") {
    b.Submit(Bench::Request(9));
    CHECK(b.workers[1].items.size() == 8);
    b.Row(1, b.workers[1].items[0], 0, {1});
    CHECK(b.workers[1].items.size() == 9);
  }
  SECTION("or when a sequence has ended") {
    b.Submit(Bench::Request(9));
    CHECK(b.workers[1].items.size() == 8);
    b.Row(1, b.workers[1].items[0], 0, {1}, v1::FINISH_REASON_LENGTH);
    CHECK(b.workers[1].items.size() == 9);
  }
}

TEST_CASE("Tenants share a busy worker by weight, whatever one of them floods", "[scheduler]") {
  Bench b;
  b.AddWorker(1, 1);
  b.Submit(Bench::Request(1));
  for (uint32_t h = 2; h <= 30; ++h) b.Submit(Bench::Request(h));
  for (uint32_t h = 31; h <= 34; ++h) {
    v1::Submit s = Bench::Request(h);
    s.set_share_key("small");
    b.Submit(s);
  }
  // One after the other; each makes four tokens.
  int small_served = 0;
  for (int i = 0; i < 9; ++i) {
    const v1::WorkItem item = b.workers[1].items.back();
    if (item.request_id() >= "r31" && item.request_id() <= "r34") ++small_served;
    b.Row(1, item, 0, {1, 2, 3, 4}, v1::FINISH_REASON_LENGTH);
    b.Wait(60ms);
  }
  CHECK(small_served == 4);
}

TEST_CASE("A tenant that floods leaves room on a worker for others", "[scheduler]") {
  Bench b;
  b.AddWorker(1, 20);
  const auto submit = [&](uint32_t first, uint32_t last, const char* tenant) {
    for (uint32_t h = first; h <= last; ++h) {
      v1::Submit s = Bench::Request(h);
      s.set_share_key(tenant);
      b.Submit(s);
    }
  };
  const auto running = [&](std::string_view tenant_ids) {
    size_t n = 0;
    for (const v1::WorkItem& item : b.workers[1].items)
      n += item.request_id().starts_with(tenant_ids);
    return n;
  };
  submit(100, 149, "flood");
  b.Wait(60ms);
  CHECK(b.workers[1].items.size() == 18);

  SECTION("for one who comes, at once, and once more") {
    submit(200, 200, "quiet");
    CHECK(running("r2") == 1);
    submit(201, 202, "quiet");
    CHECK(running("r2") == 2);
    // The room that ends is the newcomer's first, as it was served less.
    b.Row(1, b.workers[1].items[0], 0, {1}, v1::FINISH_REASON_LENGTH);
    CHECK(running("r2") == 3);
    CHECK(b.workers[1].items.size() == 21);
  }
  SECTION("for a third one beside two that flood") {
    submit(200, 249, "other flood");
    for (size_t i = 0; i < 60; ++i) {
      b.Row(1, b.workers[1].items[i], 0, {1}, v1::FINISH_REASON_LENGTH);
    }
    const size_t before = b.workers[1].items.size();
    submit(300, 300, "quiet");
    CHECK(b.workers[1].items.size() == before + 1);
    CHECK(running("r3") == 1);
  }
  SECTION("and takes what ends, but for that room") {
    for (size_t i = 0; i < 30; ++i) {
      b.Row(1, b.workers[1].items[i], 0, {1}, v1::FINISH_REASON_LENGTH);
      CHECK(b.workers[1].items.size() == 19 + i);
    }
  }
}

TEST_CASE("A tenant alone gets a whole worker when nothing is kept for others", "[scheduler]") {
  DispatcherOptions options;
  options.reserve_percent = 0;
  Bench b(options);
  b.AddWorker(1, 20);
  for (uint32_t h = 1; h <= 30; ++h) b.Submit(Bench::Request(h));
  b.Wait(60ms);
  CHECK(b.workers[1].items.size() == 20);
}

TEST_CASE("A higher priority goes first", "[scheduler]") {
  Bench b;
  b.AddWorker(1, 1);
  for (uint32_t h = 1; h <= 3; ++h) b.Submit(Bench::Request(h));
  v1::Submit urgent = Bench::Request(4);
  urgent.set_priority(5);
  b.Submit(urgent);
  b.Row(1, b.workers[1].items[0], 0, {1}, v1::FINISH_REASON_LENGTH);
  b.Wait(60ms);
  CHECK(b.workers[1].items.back().request_id() == "r4");
}

TEST_CASE("A worker never holds more sequences than its credits", "[scheduler]") {
  Bench b;
  b.AddWorker(1, 3);
  b.AddWorker(2, 2);
  for (uint32_t h = 1; h <= 20; ++h) b.Submit(Bench::Request(h));
  b.Wait(1s);
  CHECK(b.workers[1].items.size() == 3);
  CHECK(b.workers[2].items.size() == 2);
}

TEST_CASE("Work that a worker refuses goes back to the queue without an error", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(1));
  v1::StepFrame frame;
  const v1::WorkItem refused = b.workers[1].items[0];
  Bench::AddRow(frame, refused, 0, {}, v1::FINISH_REASON_ERROR);
  frame.mutable_finishes(0)->mutable_error()->set_code(8);
  b.dispatcher.OnStepFrame(1, std::move(frame));
  b.Settle();
  CHECK_FALSE(b.answers[1].finished);
  CHECK(b.workers[1].items.size() == 1);
  b.Wait(100ms);
  REQUIRE(b.workers[1].items.size() == 2);
  b.Row(1, b.workers[1].items[1], 0, {1}, v1::FINISH_REASON_LENGTH);
  CHECK(b.answers[1].finished->reason() == v1::FINISH_REASON_LENGTH);
}

TEST_CASE("An error of the request itself is the client's", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.Submit(Bench::Request(1));
  v1::StepFrame frame;
  Bench::AddRow(frame, b.workers[1].items[0], 0, {}, v1::FINISH_REASON_ERROR);
  frame.mutable_finishes(0)->mutable_error()->set_code(3);
  frame.mutable_finishes(0)->mutable_error()->set_field("logit_bias");
  b.dispatcher.OnStepFrame(1, std::move(frame));
  b.Settle();
  CHECK(b.answers[1].finished->error().field() == "logit_bias");
}

TEST_CASE("Requests spread over idle workers", "[scheduler]") {
  Bench b;
  b.AddWorker(1);
  b.AddWorker(2);
  b.Submit(Bench::Request(1));
  b.Submit(Bench::Request(2));
  CHECK(b.workers[1].items.size() == 1);
  CHECK(b.workers[2].items.size() == 1);
}
