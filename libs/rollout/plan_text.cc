// A rollout's state as text: for people, and as JSON in the workload's annotation.
#include <array>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/json/strict_json.h"
#include "libs/rollout/plan.h"

namespace weft::rollout {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 3> kStrategies{"rolling", "blue-green", "canary"};
constexpr std::array<std::string_view, 10> kPhases{"scaling",   "smoking",  "baking", "promoting",
                                                   "finishing", "cleaning", "done",   "reverting",
                                                   "removing",  "reverted"};

json ToJson(const Metrics& m) {
  json out{{"requests", m.requests}};
  if (m.error_ratio) out["error_ratio"] = *m.error_ratio;
  if (m.ttft_seconds) out["ttft_seconds"] = *m.ttft_seconds;
  if (m.tokens_per_second) out["tokens_per_second"] = *m.tokens_per_second;
  return out;
}

std::optional<double> Optional(const json& from, const char* key) {
  return from.contains(key) ? std::optional(from.at(key).get<double>()) : std::nullopt;
}

template <size_t N>
size_t IndexOf(const std::array<std::string_view, N>& names, const std::string& name) {
  for (size_t i = 0; i < N; ++i) {
    if (names[i] == name) return i;
  }
  throw json::other_error::create(501, "'" + name + "' is not known", nullptr);
}

Plan PlanFrom(const json& from) {
  Plan p;
  p.strategy = static_cast<Strategy>(IndexOf(kStrategies, from.at("strategy").get<std::string>()));
  from.at("container").get_to(p.container);
  from.at("old_image").get_to(p.old_image);
  from.at("new_image").get_to(p.new_image);
  from.at("shares").get_to(p.shares);
  from.at("bake_s").get_to(p.bake_s);
  from.at("ready_s").get_to(p.ready_s);
  from.at("settle_s").get_to(p.settle_s);
  from.at("patience_s").get_to(p.patience_s);
  from.at("replicas").get_to(p.replicas);
  from.at("measured").get_to(p.measured);
  from.at("idle_ok").get_to(p.idle_ok);
  from.at("old_hash").get_to(p.old_hash);
  from.at("services").get_to(p.services);
  from.at("prometheus").get_to(p.prometheus);
  const json& limits = from.at("limits");
  limits.at("error_percent").get_to(p.limits.error_percent);
  limits.at("ttft_seconds").get_to(p.limits.ttft_seconds);
  limits.at("ttft_ratio").get_to(p.limits.ttft_ratio);
  limits.at("throughput_ratio").get_to(p.limits.throughput_ratio);
  limits.at("least_requests").get_to(p.limits.least_requests);
  if (from.contains("baseline")) {
    const json& base = from.at("baseline");
    p.baseline = Metrics{.requests = base.at("requests").get<double>(),
                         .error_ratio = Optional(base, "error_ratio"),
                         .ttft_seconds = Optional(base, "ttft_seconds"),
                         .tokens_per_second = Optional(base, "tokens_per_second")};
  }
  return p;
}

}  // namespace

std::string_view Name(Strategy strategy) { return kStrategies.at(static_cast<size_t>(strategy)); }
std::string_view Name(Phase phase) { return kPhases.at(static_cast<size_t>(phase)); }

json ToJson(const State& state) {
  const Plan& p = state.plan;
  json plan{{"strategy", Name(p.strategy)},
            {"container", p.container},
            {"old_image", p.old_image},
            {"new_image", p.new_image},
            {"shares", p.shares},
            {"bake_s", p.bake_s},
            {"ready_s", p.ready_s},
            {"settle_s", p.settle_s},
            {"patience_s", p.patience_s},
            {"replicas", p.replicas},
            {"measured", p.measured},
            {"idle_ok", p.idle_ok},
            {"old_hash", p.old_hash},
            {"services", p.services},
            {"prometheus", p.prometheus},
            {"limits",
             {{"error_percent", p.limits.error_percent},
              {"ttft_seconds", p.limits.ttft_seconds},
              {"ttft_ratio", p.limits.ttft_ratio},
              {"throughput_ratio", p.limits.throughput_ratio},
              {"least_requests", p.limits.least_requests}}}};
  if (p.baseline) plan["baseline"] = ToJson(*p.baseline);
  return {{"plan", std::move(plan)},
          {"phase", Name(state.phase)},
          {"step", state.step},
          {"since", state.since},
          {"unready_since", state.unready_since},
          {"next_hash", state.next_hash},
          {"reason", state.reason},
          {"owner", state.owner},
          {"held",
           {{"new_image", state.held.new_image},
            {"next_replicas", state.held.next_replicas},
            {"pin", state.held.pin}}}};
}

absl::StatusOr<State> StateFromJson(std::string_view text) {
  WEFT_ASSIGN_OR_RETURN(const json from, ParseStrictJson(text));
  State out;
  try {
    out.plan = PlanFrom(from.at("plan"));
    out.phase = static_cast<Phase>(IndexOf(kPhases, from.at("phase").get<std::string>()));
    from.at("step").get_to(out.step);
    from.at("since").get_to(out.since);
    from.at("unready_since").get_to(out.unready_since);
    from.at("next_hash").get_to(out.next_hash);
    from.at("reason").get_to(out.reason);
    from.at("owner").get_to(out.owner);
    const json& held = from.at("held");
    held.at("new_image").get_to(out.held.new_image);
    held.at("next_replicas").get_to(out.held.next_replicas);
    held.at("pin").get_to(out.held.pin);
  } catch (const json::exception& error) {
    return InvalidArgument("the rollout's annotation: {}", error.what());
  }
  WEFT_RETURN_IF_ERROR(Annotate(out.plan.Validate(), "the rollout's annotation"));
  constexpr int64_t kLatest = int64_t{1} << 40;
  if (out.since < 0 || out.since > kLatest || out.unready_since < 0 ||
      out.unready_since > kLatest || out.held.next_replicas < 0) {
    return InvalidArgument("the rollout's annotation: a time or a number of pods cannot be so");
  }
  if (out.step >= out.plan.shares.size()) {
    return InvalidArgument("the rollout's annotation: step {} of {}", out.step,
                           out.plan.shares.size());
  }
  return out;
}

std::string Describe(const State& state) {
  const Plan& plan = state.plan;
  const Wanted wanted = Want(state);
  std::string where;
  if (plan.strategy == Strategy::kCanary &&
      (state.phase == Phase::kScaling || state.phase == Phase::kBaking)) {
    const int share = plan.shares[state.step];
    const int total = share == 100 ? plan.replicas : plan.replicas + wanted.next_replicas;
    where = fmt::format("step {} of {} ({} %): {} of {} serving pods have the new version; ",
                        state.step + 1, plan.shares.size(), share, wanted.next_replicas, total);
  }
  switch (state.phase) {
    case Phase::kScaling:
      return where + "waiting for its pods";
    case Phase::kSmoking:
      return "smoke test of the new pods, which serve nobody yet";
    case Phase::kBaking:
      return fmt::format("{}watching for {} s", where, plan.bake_s);
    case Phase::kPromoting:
      return "the workload itself gets the new image, while the new pods serve";
    case Phase::kFinishing:
      return "the workload's pods serve again";
    case Phase::kCleaning:
      return "removing the second workload";
    case Phase::kDone:
      return fmt::format("done: {} serves", plan.new_image);
    case Phase::kReverting:
      return fmt::format("going back to {}: {}", plan.old_image, state.reason);
    case Phase::kRemoving:
      return "the old pods serve; removing the new ones";
    case Phase::kReverted:
      return fmt::format("{} serves as before; {} was taken back: {}", plan.old_image,
                         plan.new_image, state.reason);
  }
  return "";
}

}  // namespace weft::rollout
