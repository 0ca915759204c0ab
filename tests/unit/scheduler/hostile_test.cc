// Peers may send anything: the dispatcher must neither crash nor break what it promises gateways
// (Bench checks indexes and offsets of every delta).
#include <random>

#include "services/scheduler/dispatcher.h"
#include "tests/support/catch.h"
#include "tests/unit/scheduler/fakes.h"

using namespace std::chrono_literals;
using weft::scheduler::testing::Bench;
namespace v1 = weft::v1;

namespace {

using Random = std::independent_bits_engine<std::mt19937, 32, uint32_t>;

uint32_t Below(Random& random, uint32_t n) { return static_cast<uint32_t>(random() % n); }

v1::StepFrame RandomFrame(Random& random) {
  v1::StepFrame frame;
  const uint32_t rows = Below(random, 6);
  for (uint32_t i = 0; i < rows; ++i) {
    frame.add_handles(Below(random, 12));
    frame.add_attempts(Below(random, 4));
    frame.add_first_indexes(Below(random, 5));
    const uint32_t count = Below(random, 4);
    frame.add_token_counts(Below(random, 20) == 0 ? 1u << 31 : count);
    for (uint32_t t = 0; t < count; ++t) frame.add_token_ids(random() % 300);
  }
  if (Below(random, 10) == 0) frame.add_attempts(1);
  for (uint32_t i = Below(random, 3); i > 0; --i) {
    v1::RowFinish& f = *frame.add_finishes();
    f.set_handle(Below(random, 12));
    f.set_attempt(Below(random, 4));
    f.set_reason(static_cast<v1::FinishReason>(Below(random, 7)));
    f.mutable_error()->set_code(static_cast<int>(Below(random, 18)));
  }
  for (uint32_t i = Below(random, 3); i > 0; --i) {
    frame.add_starts()->set_handle(Below(random, 12));
    frame.add_logprobs()->set_handle(Below(random, 12));
    frame.mutable_logprobs()->rbegin()->add_tokens()->add_top_ids(random());
  }
  if (Below(random, 8) == 0) {
    v1::KvEvents& e = *frame.add_kv_events();
    e.set_model(Below(random, 2) == 0 ? "m" : "?");
    e.set_stored(std::string(Below(random, 40), 'k'));
    e.set_last_number(random());
  }
  if (Below(random, 8) == 0) {
    v1::Credits& c = *frame.add_credits();
    c.set_model("m");
    c.set_sequences(Below(random, 20));
    c.set_kv_blocks(random());
  }
  if (Below(random, 8) == 0) {
    v1::EngineStats& s = *frame.add_stats();
    s.set_model("m");
    s.set_running(random());
    s.set_waiting(random());
  }
  if (Below(random, 60) == 0) frame.set_draining(true);
  return frame;
}

}  // namespace

TEST_CASE("Whatever workers send, deltas stay whole and every request ends", "[scheduler]") {
  for (uint32_t seed = 0; seed < 60; ++seed) {
    INFO("seed " << seed);
    Random random(seed);
    Bench b;
    uint64_t link = 1;
    uint32_t handle = 1;
    b.AddWorker(link);
    for (int i = 0; i < 300; ++i) {
      switch (Below(random, 8)) {
        case 0: {
          v1::Submit s = Bench::Request(handle++);
          if (Below(random, 2) == 0) s.add_stop("1 2");
          s.mutable_sampling()->set_logprobs(Below(random, 2) == 0);
          b.Submit(s);
          break;
        }
        case 1:
          b.Cancel(Below(random, handle + 2));
          break;
        case 2:
          if (Below(random, 6) == 0) b.Lose(link);
          break;
        case 3:
          b.Wait(std::chrono::milliseconds(Below(random, 300)));
          break;
        default:
          b.dispatcher.OnStepFrame(link, RandomFrame(random));
          b.Settle();
      }
      if (b.workers[link].broken) b.AddWorker(++link);
    }
    // Nobody answers any more: deadlines end what is left.
    for (auto& [id, worker] : b.workers) worker.mute = true;
    b.Wait(20s);
    b.Wait(700s);
    CHECK(b.dispatcher.idle());
    CHECK(b.dispatcher.waiting() == 0);
    for (uint32_t h = 1; h < handle; ++h) CHECK(b.answers[h].finished);
  }
}
