#include "libs/rollout/plan.h"

#include <nlohmann/json.hpp>
#include <random>

#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft::rollout {
namespace {

State Begin(Strategy strategy) {
  State state;
  state.plan.strategy = strategy;
  state.plan.container = "main";
  state.plan.old_image = "g:1";
  state.plan.new_image = "g:2";
  state.plan.old_hash = "old";
  state.plan.services = {"g"};
  state.plan.replicas = 9;
  state.since = 1000;
  return state;
}

Observation Good(int64_t now) {
  Observation seen;
  seen.now = now;
  seen.workload_ready = true;
  seen.next_present = true;
  seen.next_ready = true;
  seen.next_hash = "new";
  seen.metrics =
      Metrics{.requests = 100, .error_ratio = 0.0, .ttft_seconds = 0.1, .tokens_per_second = 50};
  seen.before = seen.metrics;
  return seen;
}

// Looks every ten seconds until the rollout ends; what it went through.
std::vector<std::string> Walk(State& state,
                              const std::function<void(const State&, Observation&)>& world,
                              int64_t limit = 10'000) {
  std::vector<std::string> path{std::string(Name(state.phase))};
  for (int64_t now = state.since; now < state.since + limit && !Ended(state.phase); now += 10) {
    Observation seen = Good(now);
    seen.next_present = Want(state).next_replicas > 0;
    if (state.phase == Phase::kSmoking) seen.smoke = true;
    world(state, seen);
    const State next = Advance(state, seen);
    if (next.phase != state.phase || next.step != state.step) path.emplace_back(Name(next.phase));
    limit += next.since != state.since ? state.since - next.since : 0;
    state = next;
  }
  return path;
}

const auto kFine = [](const State&, Observation&) {};
using Path = std::vector<std::string>;

TEST_CASE("A good canary takes 10, 25, 50, 100 % and 300 s each", "[rollout]") {
  State state = Begin(Strategy::kCanary);
  std::vector<int> replicas;
  std::vector<int64_t> baking;
  const Path path = Walk(state, [&](const State& s, Observation& seen) {
    if (s.phase == Phase::kBaking && seen.now == s.since + 10) {
      replicas.push_back(Want(s).next_replicas);
      CHECK(Want(s).pin == (s.plan.shares[s.step] == 100 ? "new" : ""));
      CHECK_FALSE(Want(s).new_image);
      baking.push_back(seen.now);
    }
  });
  CHECK(path == Path{"scaling", "baking", "scaling", "baking", "scaling", "baking", "scaling",
                     "baking", "promoting", "finishing", "cleaning", "done"});
  CHECK(replicas == std::vector<int>{1, 3, 9, 9});
  for (size_t i = 1; i < baking.size(); ++i) CHECK(baking[i] - baking[i - 1] >= 300);
  CHECK(Want(state) == Wanted{.new_image = true});
}

TEST_CASE("Blue-green serves nobody with the new version before the smoke test", "[rollout]") {
  State state = Begin(Strategy::kBlueGreen);
  const Path path = Walk(state, [](const State& s, Observation&) {
    const Wanted wanted = Want(s);
    if (s.phase == Phase::kScaling || s.phase == Phase::kSmoking) CHECK(wanted.pin == "old");
    if (s.phase == Phase::kBaking || s.phase == Phase::kPromoting) CHECK(wanted.pin == "new");
  });
  CHECK(path == Path{"scaling", "smoking", "baking", "promoting", "finishing", "cleaning", "done"});

  State smoked = Begin(Strategy::kBlueGreen);
  const Path back = Walk(smoked, [](const State& s, Observation& seen) {
    CHECK(Want(s).pin != "new");
    if (s.phase == Phase::kSmoking) {
      seen.smoke = false;
      seen.smoke_says = "no /ready";
    }
  });
  CHECK(back == Path{"scaling", "smoking", "reverting", "removing", "reverted"});
  CHECK_THAT(smoked.reason, ContainsSubstring("no /ready"));
}

TEST_CASE("A rolling rollout is watched, and patched back", "[rollout]") {
  State state = Begin(Strategy::kRolling);
  CHECK(Walk(state, kFine) == Path{"scaling", "baking", "done"});
  State bad = Begin(Strategy::kRolling);
  CHECK(Walk(bad, [](const State& s, Observation& seen) {
          if (s.phase == Phase::kBaking) seen.metrics->error_ratio = 0.051;
        }) == Path{"scaling", "baking", "reverting", "reverted"});
  CHECK(Want(bad) == Wanted{});
  CHECK_THAT(bad.reason, ContainsSubstring("5.10 %"));
}

TEST_CASE("A bad version goes back from every phase, and the old pods never stop serving",
          "[rollout]") {
  for (const Strategy strategy : {Strategy::kCanary, Strategy::kBlueGreen}) {
    for (const Phase phase : {Phase::kScaling, Phase::kBaking, Phase::kPromoting}) {
      State state = Begin(strategy);
      bool workload_old = true;  // which image its pods have
      Walk(state, [&](const State& s, Observation& seen) {
        const Wanted wanted = Want(s);
        // Pinned to the old pods only while the workload has them.
        if (wanted.pin == "old") {
          CHECK(workload_old);
          CHECK_FALSE(wanted.new_image);
        }
        if (wanted.new_image) workload_old = false;
        if (!wanted.new_image && s.phase == Phase::kReverting) {
          if (!workload_old) {  // it takes one look to get ready again
            seen.workload_ready = false;
            CHECK(wanted.pin == "new");
          }
          workload_old = true;
        }
        if (s.phase == phase && (phase != Phase::kBaking || strategy == Strategy::kBlueGreen ||
                                 s.plan.shares[s.step] == 100)) {
          seen.broken = "crashed";
        }
        if (s.phase == Phase::kRemoving) CHECK(wanted.pin == "old");
      });
      CHECK(state.phase == Phase::kReverted);
      CHECK(state.reason == "crashed");
      CHECK(Want(state) == Wanted{});
    }
  }
}

TEST_CASE("Numbers are judged by limits and by the version before", "[rollout]") {
  const Limits limits;
  const Metrics good{
      .requests = 100, .error_ratio = 0.05, .ttft_seconds = 1.0, .tokens_per_second = 50};
  CHECK(Judge(limits, good, std::nullopt).empty());
  const auto with = [&](auto change) {
    Metrics m = good;
    change(m);
    return Judge(limits, m, good);
  };
  CHECK_THAT(with([](Metrics& m) { m.error_ratio = 0.06; }), ContainsSubstring("6.00 %"));
  CHECK_THAT(with([](Metrics& m) { m.ttft_seconds = 10.5; }), ContainsSubstring("10.50 s"));
  CHECK_THAT(with([](Metrics& m) { m.ttft_seconds = 2.1; }), ContainsSubstring("2.10 s"));
  CHECK_THAT(with([](Metrics& m) { m.tokens_per_second = 24; }), ContainsSubstring("24.0 tokens"));
  CHECK(with([](Metrics& m) { m.ttft_seconds = 1.9; }).empty());
  CHECK(with([](Metrics& m) { m.tokens_per_second = 25; }).empty());
  CHECK(with([](Metrics& m) {
          m.requests = 19;
          m.error_ratio = 1;
        }).empty());  // too few to say
  CHECK(with([](Metrics& m) {
          m.ttft_seconds.reset();
          m.tokens_per_second.reset();
        }).empty());
}

TEST_CASE("Without requests nothing is proved, unless that is allowed", "[rollout]") {
  const auto idle = [](const State&, Observation& seen) { seen.metrics = seen.before = Metrics{}; };
  State state = Begin(Strategy::kCanary);
  Walk(state, idle);
  CHECK(state.phase == Phase::kReverted);
  CHECK_THAT(state.reason, ContainsSubstring("too few"));
  State allowed = Begin(Strategy::kCanary);
  allowed.plan.idle_ok = true;
  Walk(allowed, idle);
  CHECK(allowed.phase == Phase::kDone);
  State unmeasured = Begin(Strategy::kCanary);
  unmeasured.plan.measured = false;
  Walk(unmeasured, [](const State&, Observation& seen) { seen.metrics.reset(); });
  CHECK(unmeasured.phase == Phase::kDone);
}

TEST_CASE("A silent Prometheus is waited for, then the rollout goes back", "[rollout]") {
  State state = Begin(Strategy::kCanary);
  state.phase = Phase::kBaking;
  Observation seen = Good(2000);
  seen.metrics.reset();
  seen.blind_s = 60;
  CHECK(Advance(state, seen).phase == Phase::kBaking);  // though the time is over: nobody looked
  seen.blind_s = 61;
  CHECK(Advance(state, seen).phase == Phase::kReverting);
}

TEST_CASE("Pods that do not get ready, or stop being it, end the rollout", "[rollout]") {
  State state = Begin(Strategy::kCanary);
  Observation seen = Good(1600);
  seen.next_ready = false;
  CHECK(Advance(state, seen).phase == Phase::kScaling);
  seen.now = 1601;
  CHECK(Advance(state, seen).phase == Phase::kReverting);

  state.phase = Phase::kBaking;
  state.plan.bake_s = 3000;
  seen.now = 1100;
  State unready = Advance(state, seen);
  CHECK(unready.phase == Phase::kBaking);
  CHECK(Advance(unready, Good(1110)).unready_since == 0);
  seen.now = 1131;
  CHECK(Advance(unready, seen).phase == Phase::kReverting);
}

TEST_CASE("Shares become pods: at least one, never more than there are", "[rollout]") {
  CHECK(NextReplicas(9, 10) == 1);
  CHECK(NextReplicas(9, 25) == 3);
  CHECK(NextReplicas(3, 10) == 1);
  CHECK(NextReplicas(3, 50) == 3);
  CHECK(NextReplicas(3, 90) == 3);
  CHECK(NextReplicas(1, 100) == 1);
  for (int n = 1; n < 40; ++n) {
    int before = 0;
    for (int share = 1; share <= 100; ++share) {
      const int pods = NextReplicas(n, share);
      CHECK((pods >= std::max(1, before) && pods <= n));
      before = pods;
    }
  }
}

TEST_CASE("A state survives its annotation, wherever the rollout stands", "[rollout]") {
  for (const Strategy strategy : {Strategy::kRolling, Strategy::kBlueGreen, Strategy::kCanary}) {
    State state = Begin(strategy);
    state.plan.baseline = Metrics{.requests = 5, .ttft_seconds = 0.25};
    Walk(state, [](const State& s, Observation&) {
      const auto again = StateFromJson(ToJson(s).dump());
      REQUIRE(again.ok());
      CHECK(ToJson(*again) == ToJson(s));
      CHECK(Want(*again) == Want(s));
      CHECK_FALSE(Describe(s).empty());
    });
  }
}

TEST_CASE("A damaged annotation is refused with the field's name", "[rollout]") {
  const nlohmann::json good = ToJson(Begin(Strategy::kCanary));
  const auto refused = [&](auto change) {
    nlohmann::json bad = good;
    change(bad);
    const auto state = StateFromJson(bad.dump());
    REQUIRE(!state.ok());
    return std::string(Message(state.status()));
  };
  CHECK_THAT(refused([](auto& j) { j.erase("phase"); }), ContainsSubstring("phase"));
  CHECK_THAT(refused([](auto& j) { j["phase"] = "dreaming"; }), ContainsSubstring("dreaming"));
  CHECK_THAT(refused([](auto& j) { j["plan"]["replicas"] = "x"; }), ContainsSubstring("type"));
  CHECK_THAT(refused([](auto& j) { j["step"] = 4; }), ContainsSubstring("step 4"));
  CHECK_THAT(refused([](auto& j) { j["since"] = -5; }), ContainsSubstring("time"));
  CHECK_THAT(refused([](auto& j) { j["plan"]["bake_s"] = 100'000; }), ContainsSubstring("--bake"));
  CHECK_THAT(refused([](auto& j) {
               j["plan"]["shares"] = {50, 25, 100};
             }),
             ContainsSubstring("--steps"));
  CHECK(!StateFromJson("").ok());
  CHECK(!StateFromJson("[]").ok());
}

TEST_CASE("Random worlds: every rollout ends, and ends as its last word says", "[rollout]") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    State state = Begin(static_cast<Strategy>(random() % 3));
    state.plan.replicas = 1 + static_cast<int>(random() % 12);
    const uint64_t trouble = random() % 40;
    Walk(
        state,
        [&](const State& s, Observation& seen) {
          if (random() % 50 < trouble % 7) seen.next_ready = false;
          if (random() % 50 < trouble % 5 && !GoingBack(s.phase)) seen.workload_ready = false;
          if (random() % 90 == trouble) seen.broken = "crash";
          if (random() % 90 == trouble) seen.metrics->error_ratio = 0.5;
          if (random() % 20 == trouble % 20) seen.metrics.reset();
          // A process that was killed and reads the annotation again decides the same.
          CHECK(ToJson(Advance(*StateFromJson(ToJson(s).dump()), seen)) ==
                ToJson(Advance(s, seen)));
        },
        200'000);
    REQUIRE(Ended(state.phase));
    CHECK(Want(state).new_image == (state.phase == Phase::kDone));
    CHECK(Want(state).next_replicas == 0);
    CHECK(Want(state).pin.empty());
    CHECK(state.reason.empty() == (state.phase == Phase::kDone));
  }
}

}  // namespace
}  // namespace weft::rollout
