// rollout: a new version of a workload in a Kubernetes cluster, judged and taken back by itself.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/kube/client.h"
#include "libs/rollout/driver.h"
#include "services/weftctl/commands.h"
#include "services/weftctl/printable.h"

namespace weft::ctl {
namespace {

using rollout::State;
using rollout::Strategy;

struct Flags {
  kube::AccessOptions access;
  std::string name_space, target, strategy = "canary";
  rollout::Plan plan;
  int poll_s = 5, patience_s = 600;
  bool unmeasured = false;
};

std::atomic<bool> interrupted{false};

void Say(const std::string& line) { fmt::print(stderr, "{}\n", Printable(line)); }

absl::StatusOr<kube::Client> Connect(const Flags& flags) {
  for (const int number : {SIGINT, SIGTERM}) signal(number, [](int) { interrupted = true; });
  WEFT_ASSIGN_OR_RETURN(kube::Access access, kube::FindAccess(flags.access));
  if (!flags.name_space.empty()) access.name_space = flags.name_space;
  return kube::Client(std::move(access), &interrupted);
}

absl::StatusOr<State> Drive(const rollout::Cluster& cluster, const State& state,
                            const Flags& flags) {
  const rollout::DriveOptions options{
      .poll = std::chrono::milliseconds(std::max(100, flags.poll_s * 1000)),
      .patience = std::chrono::seconds(flags.patience_s),
      .cancel = &interrupted,
      .say = Say};
  absl::StatusOr<State> end = rollout::Drive(cluster, state, options);
  if (!end.ok()) {
    Say(
        fmt::format("the rollout stands as it is; `weftctl rollout resume {0}` goes on, `weftctl "
                    "rollout back {0}` takes it back",
                    flags.target));
  }
  return end;
}

// `back`: it was asked for.
absl::StatusOr<int> Verdict(const State& end, bool back) {
  const bool reverted = end.phase == rollout::Phase::kReverted;
  if (reverted != back) return FailedPrecondition("{}", rollout::Describe(end));
  fmt::print("{}\n", Printable(rollout::Describe(end)));
  if (!reverted) {
    Say("put this image into the chart's values too: the next helm upgrade would go back "
        "otherwise");
  }
  return 0;
}

absl::StatusOr<int> Start(const Flags& flags) {
  WEFT_ASSIGN_OR_RETURN(const kube::Client client, Connect(flags));
  WEFT_ASSIGN_OR_RETURN(const rollout::Cluster cluster,
                        rollout::Cluster::Open(client, flags.target));
  const absl::StatusOr<State> before = cluster.Load();
  // What cannot be read may be a rollout that stands.
  if (before.status().code() == absl::StatusCode::kInvalidArgument) return before.status();
  if (before.ok() && !rollout::Ended(before->phase)) {
    return FailedPrecondition(
        "a rollout to {} stands at: {}. Go on with `weftctl rollout resume {}`, or "
        "take it back with `weftctl rollout back {}`",
        before->plan.new_image, rollout::Describe(*before), flags.target, flags.target);
  }
  WEFT_ASSIGN_OR_RETURN(const rollout::Plan found, cluster.Survey());
  State state;
  state.plan = flags.plan;
  state.plan.container = found.container;
  state.plan.old_image = found.old_image;
  state.plan.old_hash = found.old_hash;
  state.plan.replicas = found.replicas;
  state.plan.services = found.services;
  state.plan.measured = !flags.unmeasured;
  state.plan.strategy = flags.strategy == "rolling"      ? Strategy::kRolling
                        : flags.strategy == "blue-green" ? Strategy::kBlueGreen
                                                         : Strategy::kCanary;
  WEFT_RETURN_IF_ERROR(state.plan.Validate());
  if (state.plan.measured) {
    if (state.plan.prometheus.empty()) {
      return InvalidArgument(
          "--prometheus: give its address, or --unmeasured to judge by readiness alone");
    }
    WEFT_ASSIGN_OR_RETURN(const bool worker, cluster.IsWorker());
    state.plan.baseline = rollout::Baseline(cluster, state, worker, &interrupted);
    if (!state.plan.baseline) {
      return Unavailable("{}: Prometheus does not answer; nothing was changed",
                         state.plan.prometheus);
    }
  }
  state.owner = NewRequestId();
  state.since = UnixSeconds(Clock::Real().Wall());
  WEFT_RETURN_IF_ERROR(cluster.Save(state, /*taking_over=*/true));
  Say(fmt::format("{} of {} {}: {} -> {}", rollout::Name(state.plan.strategy), flags.target,
                  state.plan.container, state.plan.old_image, state.plan.new_image));
  WEFT_ASSIGN_OR_RETURN(const State end, Drive(cluster, state, flags));
  return Verdict(end, false);
}

absl::StatusOr<int> GoOn(const Flags& flags, bool back) {
  WEFT_ASSIGN_OR_RETURN(const kube::Client client, Connect(flags));
  WEFT_ASSIGN_OR_RETURN(const rollout::Cluster cluster,
                        rollout::Cluster::Open(client, flags.target));
  WEFT_ASSIGN_OR_RETURN(State state, cluster.Load());
  if (rollout::Ended(state.phase)) {
    return FailedPrecondition("there is nothing to go on with: {}", rollout::Describe(state));
  }
  const int64_t now = UnixSeconds(Clock::Real().Wall());
  state.owner = NewRequestId();
  if (back) {
    state = rollout::TurnBack(std::move(state), "it was taken back by hand", now);
  } else if (!rollout::GoingBack(state.phase)) {
    state.since = now;  // what nobody watched does not count
    state.unready_since = 0;
  }
  WEFT_RETURN_IF_ERROR(cluster.Save(state, /*taking_over=*/true));
  WEFT_ASSIGN_OR_RETURN(const State end, Drive(cluster, state, flags));
  return Verdict(end, back);
}

absl::StatusOr<int> Status(const Flags& flags) {
  WEFT_ASSIGN_OR_RETURN(const kube::Client client, Connect(flags));
  WEFT_ASSIGN_OR_RETURN(const rollout::Cluster cluster,
                        rollout::Cluster::Open(client, flags.target));
  WEFT_ASSIGN_OR_RETURN(const State state, cluster.Load());
  fmt::print("{} of {}: {} -> {}\n{}\n", rollout::Name(state.plan.strategy), flags.target,
             Printable(state.plan.old_image), Printable(state.plan.new_image),
             Printable(rollout::Describe(state)));
  return 0;
}

void AddCluster(CLI::App* command, Flags& flags) {
  command
      ->add_option("target", flags.target,
                   "deployment/NAME, or statefulset/NAME, which can only roll")
      ->required();
  command->add_option("--kubeconfig", flags.access.file,
                      "else $KUBECONFIG, ~/.kube/config, or this pod's service account");
  command->add_option("--context", flags.access.context, "of the kubeconfig");
  command->add_option("-n,--namespace", flags.name_space, "else the context's");
}

void AddDriving(CLI::App* command, Flags& flags) {
  command->add_option("--poll", flags.poll_s, "seconds between two looks")
      ->check(CLI::Range(0, 60));
  command
      ->add_option("--patience", flags.patience_s,
                   "seconds with an API server that does not answer")
      ->check(CLI::Range(0, 86400));
}

void AddStart(CLI::App* command, Flags& flags) {
  rollout::Plan& plan = flags.plan;
  command->add_option("--image", plan.new_image, "of the new version")->required();
  command->add_option("--strategy", flags.strategy)
      ->check(CLI::IsMember({"canary", "blue-green", "rolling"}))
      ->capture_default_str();
  command->add_option("--steps", plan.shares, "canary: shares of the load in per cent")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--bake", plan.bake_s, "seconds that each step is watched")
      ->check(CLI::Range(0, 86400))
      ->capture_default_str();
  command->add_option("--ready", plan.ready_s, "seconds for pods to get ready")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  command->add_option("--settle", plan.settle_s, "seconds for addresses to spread before pods go")
      ->check(CLI::Range(0, 3600))
      ->capture_default_str();
  auto* address =
      command->add_option("--prometheus", plan.prometheus, "http(s)://HOST:PORT of its API");
  command
      ->add_flag("--unmeasured", flags.unmeasured,
                 "judge by readiness, crashes and the smoke test alone")
      ->excludes(address);
  command->add_option("--max-errors", plan.limits.error_percent, "per cent of the requests")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command
      ->add_option("--max-ttft", plan.limits.ttft_seconds,
                   "seconds to the first token, 95th percentile")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--max-ttft-ratio", plan.limits.ttft_ratio, "of that to the version before")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--min-throughput-ratio", plan.limits.throughput_ratio,
                   "of a pod's tokens per second to the version before")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--least-requests", plan.limits.least_requests, "fewer are not judged by")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_flag("--idle-ok", plan.idle_ok,
                    "too few requests to judge by are no reason to go back");
}

}  // namespace

void AddRolloutCommands(CLI::App& app, Commands& commands) {
  auto flags = std::make_shared<Flags>();
  auto* group = app.add_subcommand(
      "rollout",
      "a new version in Kubernetes by canary, blue-green or rolling; goes back by itself");
  group->require_subcommand(1);
  auto* start =
      group->add_subcommand("start", "roll out an image and stay until it serves or is taken back");
  AddCluster(start, *flags);
  AddStart(start, *flags);
  AddDriving(start, *flags);
  auto* resume =
      group->add_subcommand("resume", "go on with a rollout that nobody drives any more");
  AddCluster(resume, *flags);
  AddDriving(resume, *flags);
  auto* back = group->add_subcommand("back", "take an unfinished rollout back");
  AddCluster(back, *flags);
  AddDriving(back, *flags);
  auto* status = group->add_subcommand("status", "how the last rollout stands");
  AddCluster(status, *flags);
  commands.push_back({start, [flags] { return Start(*flags); }});
  commands.push_back({resume, [flags] { return GoOn(*flags, false); }});
  commands.push_back({back, [flags] { return GoOn(*flags, true); }});
  commands.push_back({status, [flags] { return Status(*flags); }});
}

}  // namespace weft::ctl
