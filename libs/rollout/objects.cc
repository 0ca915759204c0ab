#include "libs/rollout/objects.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace weft::rollout {
namespace {

using nlohmann::json;

const json& At(const json& object, std::initializer_list<const char*> path) {
  static const json nothing;
  const json* at = &object;
  for (const char* key : path) {
    const auto it = at->is_object() ? at->find(key) : at->end();
    if (!at->is_object() || it == at->end()) return nothing;
    at = &*it;
  }
  return *at;
}

int64_t Number(const json& value, int64_t otherwise = 0) {
  return value.is_number_integer() ? value.get<int64_t>() : otherwise;
}

std::string Text(const json& value) { return value.is_string() ? value.get<std::string>() : ""; }

json* ContainerOf(json& pod_spec, const std::string& name) {
  for (json& container : pod_spec["containers"]) {
    if (container.value("name", "") == name) return &container;
  }
  return nullptr;
}

// Why a container of a pod failed, by what Kubernetes keeps of its last end.
std::string LastWords(const json& status) {
  for (const char* state : {"state", "lastState"}) {
    const json& end = At(status, {state, "terminated"});
    if (!end.is_object()) continue;
    const std::string message = Text(At(end, {"message"}));
    return fmt::format("{}, exit code {}{}{}", Text(At(end, {"reason"})),
                       Number(At(end, {"exitCode"})), message.empty() ? "" : ": ",
                       message.substr(0, 300));
  }
  return "";
}

}  // namespace

std::string SelectorText(const json& labels) {
  std::string out;
  for (const auto& [key, value] : labels.items()) {
    out += fmt::format("{}{}={}", out.empty() ? "" : ",", key, Text(value));
  }
  return out;
}

bool Chooses(const json& service, const json& pod_labels) {
  const json& selector = At(service, {"spec", "selector"});
  if (!selector.is_object() || selector.empty()) return false;
  for (const auto& [key, value] : selector.items()) {
    if (key != kHashLabel && Text(At(pod_labels, {key.c_str()})) != Text(value)) return false;
  }
  return true;
}

json NextDeployment(const json& deployment, const std::string& container, const std::string& image,
                    int replicas) {
  json spec = At(deployment, {"spec"});
  spec["replicas"] = replicas;
  spec["selector"]["matchLabels"][kTrackLabel] = "next";
  spec["template"]["metadata"]["labels"][kTrackLabel] = "next";
  if (json* one = ContainerOf(spec["template"]["spec"], container)) (*one)["image"] = image;
  json labels = At(deployment, {"metadata", "labels"});
  if (!labels.is_object()) labels = json::object();
  // Not the chart's: helm must neither adopt nor delete it.
  labels["app.kubernetes.io/managed-by"] = "weftctl";
  labels[kTrackLabel] = "next";
  const std::string name = Text(At(deployment, {"metadata", "name"}));
  return {{"apiVersion", "apps/v1"},
          {"kind", "Deployment"},
          {"metadata",
           {{"name", name + "-next"},
            {"labels", std::move(labels)},
            // Gone with the workload, whatever happens to us.
            {"ownerReferences", json::array({{{"apiVersion", "apps/v1"},
                                              {"kind", "Deployment"},
                                              {"name", name},
                                              {"uid", At(deployment, {"metadata", "uid"})}}})}}},
          {"spec", std::move(spec)}};
}

json SmokeJob(const json& deployment, const std::string& container, const std::string& image,
              const std::vector<std::string>& addresses) {
  json pod = At(deployment, {"spec", "template", "spec"});
  json* one = ContainerOf(pod, container);
  json checks = json::array();
  for (const std::string& address : addresses) {
    const std::string host = address.find(':') == std::string::npos ? address : "[" + address + "]";
    for (const json& port : one == nullptr ? json::array() : one->value("ports", json::array())) {
      const std::string name = port.value("name", "");
      if (name != "admin" && name != "http") continue;
      checks.push_back(
          {{"name", fmt::format("check-{}", checks.size())},
           {"image", image},
           {"imagePullPolicy", one->value("imagePullPolicy", "IfNotPresent")},
           {"args", json::array({fmt::format("--healthcheck=http://{}:{}{}", host,
                                             Number(At(port, {"containerPort"})),
                                             name == "admin" ? "/ready" : "/health")})},
           {"resources",
            {{"requests", {{"cpu", "50m"}, {"memory", "64Mi"}}},
             {"limits", {{"cpu", "500m"}, {"memory", "128Mi"}}}}},
           {"securityContext",
            {{"allowPrivilegeEscalation", false},
             {"readOnlyRootFilesystem", true},
             {"runAsNonRoot", true},
             {"capabilities", {{"drop", {"ALL"}}}}}}});
    }
  }
  json labels = At(deployment, {"spec", "template", "metadata", "labels"});
  // Which NetworkPolicies let ask, and which no Service chooses.
  labels["app.kubernetes.io/component"] = "test";
  labels.erase(kTrackLabel);
  json spec{{"restartPolicy", "Never"},
            {"automountServiceAccountToken", false},
            {"enableServiceLinks", false},
            {"securityContext",
             {{"runAsNonRoot", true},
              {"runAsUser", 65532},
              {"runAsGroup", 65532},
              {"seccompProfile", {{"type", "RuntimeDefault"}}}}},
            {"containers", std::move(checks)}};
  for (const char* kept : {"imagePullSecrets", "nodeSelector", "tolerations"}) {
    if (pod.contains(kept)) spec[kept] = pod[kept];
  }
  return {{"apiVersion", "batch/v1"},
          {"kind", "Job"},
          {"metadata",
           {{"name", Text(At(deployment, {"metadata", "name"})) + "-smoke"}, {"labels", labels}}},
          {"spec",
           {{"backoffLimit", 2},
            {"activeDeadlineSeconds", 120},
            {"ttlSecondsAfterFinished", 600},
            {"template", {{"metadata", {{"labels", labels}}}, {"spec", std::move(spec)}}}}}};
}

bool FullyRolledOut(const json& workload) {
  const json& status = At(workload, {"status"});
  const int64_t wanted = Number(At(workload, {"spec", "replicas"}), 1);
  if (Number(At(status, {"observedGeneration"})) <
      Number(At(workload, {"metadata", "generation"}))) {
    return false;
  }
  if (Number(At(status, {"updatedReplicas"})) != wanted ||
      Number(At(status, {"replicas"})) != wanted) {
    return false;
  }
  if (Text(At(workload, {"kind"})) == "StatefulSet") {
    return Number(At(status, {"readyReplicas"})) == wanted &&
           At(status, {"currentRevision"}) == At(status, {"updateRevision"});
  }
  return Number(At(status, {"availableReplicas"})) == wanted;
}

std::string WhyBroken(const json& pods) {
  static constexpr std::array kHopeless{"CrashLoopBackOff",     "ImagePullBackOff",
                                        "InvalidImageName",     "CreateContainerConfigError",
                                        "CreateContainerError", "RunContainerError"};
  for (const json& pod : At(pods, {"items"})) {
    const std::string name = Text(At(pod, {"metadata", "name"}));
    for (const char* list : {"initContainerStatuses", "containerStatuses"}) {
      for (const json& status : At(pod, {"status", list})) {
        const json& waiting = At(status, {"state", "waiting"});
        const std::string reason = Text(At(waiting, {"reason"}));
        const bool hopeless =
            std::find(kHopeless.begin(), kHopeless.end(), reason) != kHopeless.end();
        const int64_t restarts = Number(At(status, {"restartCount"}));
        if (!hopeless && restarts < 2) continue;
        const std::string words = LastWords(status);
        const std::string message = Text(At(waiting, {"message"}));
        return fmt::format("pod {}, container {}: {}{}{}", name, Text(At(status, {"name"})),
                           hopeless ? reason : fmt::format("restarted {} times", restarts),
                           words.empty() && message.empty() ? "" : ": ",
                           (words.empty() ? message : words).substr(0, 400));
      }
    }
  }
  return "";
}

std::string ImageOf(const json& workload, const std::string& container) {
  for (const json& one : At(workload, {"spec", "template", "spec", "containers"})) {
    if (Text(At(one, {"name"})) == container) return Text(At(one, {"image"}));
  }
  return "";
}

}  // namespace weft::rollout
