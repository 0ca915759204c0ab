// Random schedules of submits, cancels, deadlines, failures and small caches. Whatever happens, a
// sequence's tokens are a prefix of what it says alone, each item ends once, and no block is lost.
#include <algorithm>
#include <random>

#include "libs/base/status.h"
#include "tests/support/catch.h"
#include "tests/unit/engine/engine_fixture.h"

namespace weft::engine {
namespace {

constexpr uint64_t kKinds = 30;

const std::vector<int32_t>& Alone(uint64_t kind) {
  static const std::vector<std::vector<int32_t>> all = [] {
    std::vector<std::vector<int32_t>> tokens(kKinds + 1);
    for (uint64_t k = 1; k <= kKinds; ++k) {
      EngineFixture f({.max_sequences = 1, .prefix_cache = false});
      REQUIRE(f.Submit(f.MixedItem(k)).ok());
      f.RunUntilIdle();
      tokens[k] = f.outcome(k).tokens;
    }
    return tokens;
  }();
  return all[kind];
}

TEST_CASE("Engine under a random schedule says what each sequence says alone and leaks nothing",
          "[engine]") {
  for (unsigned seed = 1; seed <= 80; ++seed) {
    INFO("seed " << seed);
    std::mt19937 random(seed);
    auto below = [&](uint64_t n) { return static_cast<uint64_t>(random()) % n; };
    EngineOptions options;
    options.max_sequences = 1 + static_cast<int32_t>(below(8));
    options.token_budget = options.max_sequences + static_cast<int32_t>(below(120));
    options.max_waiting = 20;
    options.kv_blocks = 5 + static_cast<int32_t>(below(25));
    options.prefix_cache = below(4) != 0;
    FakeModelOptions model;
    uint64_t failing = 0;  // forward passes left to fail
    model.before_forward = [&](const StepBatch&) -> absl::Status {
      if (failing == 0) return absl::OkStatus();
      --failing;
      return Internal("injected");
    };
    EngineFixture f(options, model);

    struct Submitted {
      uint64_t kind;
      size_t given;
      bool disturbed = false;  // cancelled, or near an injected failure, or with a deadline
    };
    std::map<uint64_t, Submitted> submitted;
    uint64_t next_id = 1;
    bool failures_injected = false;
    for (int i = 0; i < 400 || !f.engine().idle(); ++i) {
      REQUIRE(i < 100000);
      const uint64_t what = i < 400 ? below(12) : 11;
      if (what < 3) {
        const uint64_t kind = 1 + below(kKinds);
        WorkItem item = f.MixedItem(kind);
        item.id = next_id++;
        item.share_key = below(3);
        item.priority = static_cast<int32_t>(below(3));
        Submitted s{.kind = kind, .given = 0};
        if (below(3) == 0) {  // as another worker left it
          const std::vector<int32_t>& whole = Alone(kind);
          s.given = below(whole.size() + 1);
          item.output.assign(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(s.given));
          item.attempt = 2;
        }
        if (below(10) == 0) {
          item.deadline = f.clock().Now() + std::chrono::milliseconds(below(200));
          s.disturbed = true;
        }
        const uint64_t id = item.id;
        if (f.Submit(std::move(item)).ok()) submitted[id] = s;
      } else if (what == 3 && next_id > 1) {
        const uint64_t id = 1 + below(next_id - 1);
        f.engine().Cancel(id);
        if (submitted.contains(id)) submitted[id].disturbed = true;
      } else if (what == 4 && below(10) == 0 && !kStepsRunAhead) {
        failing = 1 + below(3);
        failures_injected = true;
      } else {
        f.clock().Advance(std::chrono::milliseconds(below(20)));
        f.StepOnce();
        const EngineStats stats = f.engine().stats();
        REQUIRE(stats.running <= static_cast<uint32_t>(options.max_sequences));
        REQUIRE(f.last().prefill_rows + f.last().decode_rows <=
                static_cast<uint32_t>(options.token_budget));
      }
    }
    const EngineStats stats = f.engine().stats();
    CHECK(stats.kv_blocks_free == stats.kv_blocks_total);
    CHECK(stats.running == 0);
    CHECK(stats.waiting == 0);
    for (const auto& [id, s] : submitted) {
      INFO("id " << id << " kind " << s.kind << " given " << s.given);
      const Outcome& o = f.outcome(id);
      REQUIRE(o.finish.has_value());
      const std::vector<int32_t>& whole = Alone(s.kind);
      REQUIRE(s.given + o.tokens.size() <= whole.size());
      REQUIRE(std::equal(o.tokens.begin(), o.tokens.end(),
                         whole.begin() + static_cast<ptrdiff_t>(s.given)));
      const bool ended =
          o.finish->reason == FinishReason::kStop || o.finish->reason == FinishReason::kLength;
      if (ended) CHECK(s.given + o.tokens.size() == whole.size());
      const WorkItem item = f.MixedItem(s.kind);
      REQUIRE(o.prompt_logprobs.size() < item.prompt.size());
      for (size_t k = 0; k < o.prompt_logprobs.size(); ++k) {
        REQUIRE(o.prompt_logprobs[k].token == item.prompt[k + 1]);
      }
      // An attempt that came with its end computes nothing.
      if (ended && !o.tokens.empty() && item.sampling.prompt_logprobs) {
        CHECK(o.prompt_logprobs.size() + 1 == item.prompt.size());
      }
      if (!s.disturbed && !failures_injected) CHECK(ended);
    }
  }
}

}  // namespace
}  // namespace weft::engine
