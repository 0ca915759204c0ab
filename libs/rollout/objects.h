// Kubernetes objects of a rollout, as JSON; no cluster here.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace weft::rollout {

inline constexpr char kAnnotation[] = "weft.dev/rollout";  // a rollout's state, on the workload
inline constexpr char kTrackLabel[] = "weft.dev/track";    // "next" on the pods of NAME-next
inline constexpr char kHashLabel[] = "pod-template-hash";  // Kubernetes' own

// "a=b,c=d" of a label map, for ?labelSelector=.
std::string SelectorText(const nlohmann::json& labels);

// Whether a Service's selector chooses pods with these labels; one without a selector chooses none.
// A pin does not count.
bool Chooses(const nlohmann::json& service, const nlohmann::json& pod_labels);

// NAME-next: the workload with that image, those replicas, and a label of its own.
nlohmann::json NextDeployment(const nlohmann::json& deployment, const std::string& container,
                              const std::string& image, int replicas);

// A Job that asks every address for /ready on the port named `admin` and /health on the one named
// `http` with the new image's own --healthcheck. As restricted as the chart's pods.
nlohmann::json SmokeJob(const nlohmann::json& deployment, const std::string& container,
                        const std::string& image, const std::vector<std::string>& addresses);

// Whether all pods are of the workload's template and available. Of a Deployment or StatefulSet.
bool FullyRolledOut(const nlohmann::json& workload);

// Why these pods cannot get ready by themselves (a crash loop, an image that cannot be had); empty:
// nothing is known to be wrong.
std::string WhyBroken(const nlohmann::json& pods);

std::string ImageOf(const nlohmann::json& workload, const std::string& container);

}  // namespace weft::rollout
