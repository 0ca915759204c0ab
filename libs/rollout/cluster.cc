#include "libs/rollout/cluster.h"

#include "libs/base/status.h"
#include "libs/fetch/http_call.h"
#include "libs/rollout/objects.h"

namespace weft::rollout {

using nlohmann::json;

absl::StatusOr<Cluster> Cluster::Open(const kube::Client& client, std::string_view target) {
  const size_t slash = target.find('/');
  const std::string_view kind = slash == target.npos ? "deployment" : target.substr(0, slash);
  const std::string_view name = slash == target.npos ? target : target.substr(slash + 1);
  if (kind != "deployment" && kind != "statefulset") {
    return InvalidArgument("'{}': a Deployment or StatefulSet is rolled out, not a {}", target,
                           kind);
  }
  const bool plain = !name.empty() && name.size() <= 200 &&
                     name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == name.npos;
  if (!plain) return InvalidArgument("'{}' is no name of a workload", target);
  return Cluster(client, kind == "statefulset", std::string(name));
}

std::string Cluster::Core(std::string_view rest) const {
  return fmt::format("/api/v1/namespaces/{}/{}", name_space(), rest);
}
std::string Cluster::Apps(std::string_view rest) const {
  return fmt::format("/apis/apps/v1/namespaces/{}/{}", name_space(), rest);
}
std::string Cluster::Self() const {
  return Apps(fmt::format("{}/{}", stateful_ ? "statefulsets" : "deployments", name_));
}
absl::StatusOr<json> Cluster::Get() const { return client_->Get(Self()); }

// The label of the pods of the template that the Deployment has now; empty while its controller has
// not come to it.
absl::StatusOr<std::string> Cluster::HashOf(const json& deployment, const std::string& image,
                                            const std::string& container) const {
  const std::string revision =
      deployment.value("/metadata/annotations/deployment.kubernetes.io~1revision"_json_pointer, "");
  const json selector = deployment.value("/spec/selector/matchLabels"_json_pointer, json::object());
  WEFT_ASSIGN_OR_RETURN(const json sets,
                        client_->Get(Apps("replicasets?labelSelector=" +
                                          fetch::PercentEncoded(SelectorText(selector)))));
  const std::string uid = deployment.value("/metadata/uid"_json_pointer, "");
  for (const json& set : sets.value("items", json::array())) {
    bool ours = false;
    for (const json& owner : set.value("/metadata/ownerReferences"_json_pointer, json::array())) {
      ours = ours || owner.value("uid", "") == uid;
    }
    if (!ours || ImageOf(set, container) != image) continue;
    if (set.value("/metadata/annotations/deployment.kubernetes.io~1revision"_json_pointer, "") ==
        revision) {
      return set.value(json::json_pointer("/metadata/labels/" + std::string(kHashLabel)), "");
    }
  }
  return std::string();
}

absl::StatusOr<Plan> Cluster::Survey() const {
  WEFT_ASSIGN_OR_RETURN(const json self, Get());
  const json containers = self.value("/spec/template/spec/containers"_json_pointer, json::array());
  if (containers.empty()) return FailedPrecondition("{} has no containers", name_);
  Plan plan;
  plan.container = containers[0].value("name", "");
  plan.old_image = containers[0].value("image", "");
  plan.replicas = self.value("/spec/replicas"_json_pointer, 1);
  if (self.value("/spec/strategy/type"_json_pointer, "") == "Recreate") {
    return FailedPrecondition(
        "{} replaces its pods at once (strategy Recreate), as a gateway does that keeps its "
        "database "
        "in a volume: two versions cannot run side by side",
        name_);
  }
  if (plan.replicas < 1) {
    return FailedPrecondition(
        "{} has no replicas: is it scaled to zero, or given to Argo Rollouts?", name_);
  }
  if (!stateful_) {
    WEFT_ASSIGN_OR_RETURN(plan.old_hash, HashOf(self, plan.old_image, plan.container));
    if (plan.old_hash.empty() || !FullyRolledOut(self)) {
      return FailedPrecondition("{} is being rolled out already, or not all of its pods are ready",
                                name_);
    }
  }
  const json labels = self.value("/spec/template/metadata/labels"_json_pointer, json::object());
  WEFT_ASSIGN_OR_RETURN(const json services, client_->Get(Core("services")));
  for (const json& service : services.value("items", json::array())) {
    if (Chooses(service, labels)) {
      plan.services.push_back(service.value("/metadata/name"_json_pointer, ""));
    }
  }
  return plan;
}

absl::StatusOr<State> Cluster::Load() const {
  WEFT_ASSIGN_OR_RETURN(const json self, Get());
  const json annotations = self.value("/metadata/annotations"_json_pointer, json::object());
  const auto it = annotations.find(kAnnotation);
  if (it == annotations.end() || !it->is_string()) return NotFound("{} has had no rollout", name_);
  return StateFromJson(it->get<std::string>());
}

absl::Status Cluster::Save(const State& state, bool taking_over) const {
  for (int tries = 0;; ++tries) {
    WEFT_ASSIGN_OR_RETURN(const json self, Get());
    const json annotations = self.value("/metadata/annotations"_json_pointer, json::object());
    if (const auto it = annotations.find(kAnnotation);
        !taking_over && it != annotations.end() && it->is_string()) {
      const absl::StatusOr<State> there = StateFromJson(it->get<std::string>());
      if (there.ok() && there->owner != state.owner) {
        return FailedPrecondition("another weftctl drives the rollout of {} now", name_);
      }
    }
    // The version of the object makes sure that nobody wrote meanwhile.
    const json patch{
        {"metadata",
         {{"resourceVersion", self.value("/metadata/resourceVersion"_json_pointer, "")},
          {"annotations", {{kAnnotation, ToJson(state).dump()}}}}}};
    const absl::Status done = client_->Patch(Self(), patch).status();
    if (done.code() != absl::StatusCode::kAborted || tries == 9) return done;
  }
}

absl::Status Cluster::Pin(const State& state, const std::string& hash) const {
  for (const std::string& name : state.plan.services) {
    const std::string path = Core("services/" + name);
    WEFT_ASSIGN_OR_RETURN(const json service, client_->Get(path));
    const json selector = service.value("/spec/selector"_json_pointer, json::object());
    if (selector.value(kHashLabel, "") == hash) continue;
    json wanted = nullptr;
    if (!hash.empty()) wanted = hash;
    const json patch{{"spec", {{"selector", {{kHashLabel, wanted}}}}}};
    WEFT_RETURN_IF_ERROR(client_->Patch(path, patch).status());
  }
  return absl::OkStatus();
}

absl::Status Cluster::ApplyNext(const State& state, int replicas) const {
  const std::string path = Apps("deployments/" + name_ + "-next");
  const absl::StatusOr<json> next = client_->Get(path);
  if (!next.ok() && next.status().code() != absl::StatusCode::kNotFound) return next.status();
  if (replicas == 0) {
    if (!next.ok() || next->contains("/metadata/deletionTimestamp"_json_pointer))
      return absl::OkStatus();
    return client_->Delete(path);
  }
  if (!next.ok()) {
    WEFT_ASSIGN_OR_RETURN(const json self, Get());
    return client_
        ->Create(Apps("deployments"),
                 NextDeployment(self, state.plan.container, state.plan.new_image, replicas))
        .status();
  }
  if (next->contains("/metadata/deletionTimestamp"_json_pointer)) {
    return Unavailable("{}-next of an earlier rollout is still being deleted", name_);
  }
  if (ImageOf(*next, state.plan.container) != state.plan.new_image) {
    return FailedPrecondition("Deployment {}-next runs {}; it is not of this rollout. Delete it",
                              name_, ImageOf(*next, state.plan.container));
  }
  if (next->value("/spec/replicas"_json_pointer, 1) == replicas) return absl::OkStatus();
  return client_->Patch(path, {{"spec", {{"replicas", replicas}}}}).status();
}

absl::Status Cluster::Apply(const State& state) const {
  const Wanted wanted = Want(state);
  const Plan& plan = state.plan;
  // Selectors first: new pods must not serve before they may, old ones not go before nobody asks
  // them.
  if (plan.strategy != Strategy::kRolling) WEFT_RETURN_IF_ERROR(Pin(state, wanted.pin));
  WEFT_ASSIGN_OR_RETURN(const json self, Get());
  const std::string& image = wanted.new_image ? plan.new_image : plan.old_image;
  if (ImageOf(self, plan.container) != image) {
    const json container{{"name", plan.container}, {"image", image}};
    const json patch{
        {"spec", {{"template", {{"spec", {{"containers", json::array({container})}}}}}}}};
    WEFT_RETURN_IF_ERROR(client_->Patch(Self(), patch, kube::Merge::kStrategic).status());
  }
  if (plan.strategy == Strategy::kRolling) return absl::OkStatus();
  return ApplyNext(state, wanted.next_replicas);
}

absl::Status Cluster::Smoke(const State& state, const json& pods, Observation& seen) const {
  const std::string jobs = fmt::format("/apis/batch/v1/namespaces/{}/jobs", name_space());
  const absl::StatusOr<json> job = client_->Get(jobs + "/" + name_ + "-smoke");
  if (job.ok()) {
    if (job->value("/metadata/deletionTimestamp"_json_pointer, "") != "") return absl::OkStatus();
    for (const json& condition : job->value("/status/conditions"_json_pointer, json::array())) {
      if (condition.value("status", "") != "True") continue;
      if (condition.value("type", "") == "Complete") seen.smoke = true;
      if (condition.value("type", "") == "Failed") {
        seen.smoke = false;
        seen.smoke_says = fmt::format("{} (Job {}-smoke)", condition.value("message", ""), name_);
      }
    }
    return absl::OkStatus();
  }
  if (job.status().code() != absl::StatusCode::kNotFound) return job.status();
  std::vector<std::string> addresses;
  for (const json& pod : pods.value("items", json::array())) {
    if (const auto ip = pod.value("/status/podIP"_json_pointer, ""); !ip.empty())
      addresses.push_back(ip);
  }
  WEFT_ASSIGN_OR_RETURN(const json self, Get());
  const json made = SmokeJob(self, state.plan.container, state.plan.new_image, addresses);
  if (made["spec"]["template"]["spec"]["containers"].empty()) {
    seen.smoke = false;
    seen.smoke_says = "no port of the container is named admin or http, or no pod has an address";
    return absl::OkStatus();
  }
  return client_->Create(jobs, made).status();
}

absl::Status Cluster::CleanUp() const {
  return client_->Delete(
      fmt::format("/apis/batch/v1/namespaces/{}/jobs/{}-smoke", name_space(), name_));
}

absl::StatusOr<Observation> Cluster::Observe(const State& state, int64_t now) const {
  Observation seen;
  seen.now = now;
  WEFT_ASSIGN_OR_RETURN(const json self, Get());
  seen.workload_ready = FullyRolledOut(self);
  json selector = self.value("/spec/selector/matchLabels"_json_pointer, json::object());
  std::string hash_label = kHashLabel, hash;
  if (state.plan.strategy == Strategy::kRolling) {
    if (stateful_) {
      hash_label = "controller-revision-hash";
      hash = self.value("/status/updateRevision"_json_pointer, "");
    } else {
      WEFT_ASSIGN_OR_RETURN(hash, HashOf(self, state.plan.new_image, state.plan.container));
      seen.next_hash = hash;
    }
  } else {
    const absl::StatusOr<json> next = client_->Get(Apps("deployments/" + name_ + "-next"));
    if (!next.ok() && next.status().code() != absl::StatusCode::kNotFound) return next.status();
    seen.next_present = next.ok();
    if (next.ok()) {
      seen.next_ready = FullyRolledOut(*next);
      WEFT_ASSIGN_OR_RETURN(seen.next_hash,
                            HashOf(*next, state.plan.new_image, state.plan.container));
    }
    hash = seen.next_hash;
    if (state.phase == Phase::kPromoting) {
      WEFT_ASSIGN_OR_RETURN(hash, HashOf(self, state.plan.new_image, state.plan.container));
    }
  }
  if (hash.empty()) return seen;
  selector[hash_label] = hash;
  WEFT_ASSIGN_OR_RETURN(
      const json pods,
      client_->Get(Core("pods?labelSelector=" + fetch::PercentEncoded(SelectorText(selector)))));
  seen.broken = WhyBroken(pods);
  if (state.phase == Phase::kSmoking) WEFT_RETURN_IF_ERROR(Smoke(state, pods, seen));
  return seen;
}

absl::StatusOr<bool> Cluster::IsWorker() const {
  WEFT_ASSIGN_OR_RETURN(const json self, Get());
  return self.value("/spec/template/metadata/labels/app.kubernetes.io~1component"_json_pointer,
                    "") == "worker";
}

std::string Cluster::NewPods(const State& state) const {
  if (stateful_) return name_ + "-[0-9]+";
  const bool next = state.plan.strategy != Strategy::kRolling;
  return fmt::format("{}{}-{}-[a-z0-9]+", name_, next ? "-next" : "",
                     state.next_hash.empty() ? "[a-z0-9]+" : state.next_hash);
}

std::string Cluster::OldPods(const State& state) const {
  if (stateful_) return name_ + "-[0-9]+";
  return fmt::format("{}-{}-[a-z0-9]+", name_, state.plan.old_hash);
}

}  // namespace weft::rollout
