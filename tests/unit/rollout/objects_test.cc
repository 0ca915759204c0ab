#include "libs/rollout/objects.h"

#include "tests/support/catch.h"

namespace weft::rollout {
namespace {

using nlohmann::json;

json Deployment() {
  return json::parse(R"({
    "apiVersion": "apps/v1", "kind": "Deployment",
    "metadata": {"name": "g", "uid": "u1", "generation": 3, "labels": {"app.kubernetes.io/managed-by": "Helm"}},
    "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "g"}},
      "template": {"metadata": {"labels": {"app": "g"}}, "spec": {"serviceAccountName": "g", "containers": [
        {"name": "side", "image": "s:1"},
        {"name": "main", "image": "m:1", "ports": [{"name": "http", "containerPort": 8080}, {"name": "grpc", "containerPort": 8081},
          {"name": "admin", "containerPort": 9100}]}]}}},
    "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}})");
}

TEST_CASE("A Service chooses by its selector, pinned or not", "[rollout]") {
  const json labels{{"app", "g"}, {"x", "y"}};
  const auto service = [](const json& selector) {
    return json{{"spec", {{"selector", selector}}}};
  };
  CHECK(Chooses(service({{"app", "g"}}), labels));
  CHECK(Chooses(service({{"app", "g"}, {kHashLabel, "abc"}}), labels));
  CHECK_FALSE(Chooses(service({{"app", "h"}}), labels));
  CHECK_FALSE(Chooses(service({{"app", "g"}, {"z", "1"}}), labels));
  CHECK_FALSE(Chooses(service(json::object()), labels));
  CHECK_FALSE(Chooses({{"spec", json::object()}}, labels));
  CHECK(SelectorText(labels) == "app=g,x=y");
}

TEST_CASE("The second workload differs in name, image, replicas and one label", "[rollout]") {
  const json next = NextDeployment(Deployment(), "main", "m:2", 1);
  CHECK(next["metadata"]["name"] == "g-next");
  CHECK(next["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "weftctl");
  CHECK(next["metadata"]["ownerReferences"][0]["uid"] == "u1");
  CHECK(next["spec"]["replicas"] == 1);
  CHECK(next["spec"]["selector"]["matchLabels"] == json{{"app", "g"}, {kTrackLabel, "next"}});
  CHECK(next["spec"]["template"]["metadata"]["labels"] ==
        json{{"app", "g"}, {kTrackLabel, "next"}});
  CHECK(ImageOf(next, "main") == "m:2");
  CHECK(ImageOf(next, "side") == "s:1");
  CHECK_FALSE(next.contains("status"));
}

TEST_CASE("The smoke test asks each pod's admin and http port", "[rollout]") {
  const json job = SmokeJob(Deployment(), "main", "m:2", {"10.0.0.1", "fd00::1"});
  const json& checks = job["spec"]["template"]["spec"]["containers"];
  REQUIRE(checks.size() == 4);
  CHECK(checks[0]["args"][0] == "--healthcheck=http://10.0.0.1:8080/health");
  CHECK(checks[1]["args"][0] == "--healthcheck=http://10.0.0.1:9100/ready");
  CHECK(checks[3]["args"][0] == "--healthcheck=http://[fd00::1]:9100/ready");
  CHECK(checks[0]["image"] == "m:2");
  CHECK(job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "test");
}

TEST_CASE("A workload is rolled out when its controller has seen it and all pods are new",
          "[rollout]") {
  CHECK(FullyRolledOut(Deployment()));
  for (const auto& [field, value] :
       std::vector<std::pair<std::string, int>>{{"observedGeneration", 2},
                                                {"replicas", 3},
                                                {"updatedReplicas", 1},
                                                {"availableReplicas", 1}}) {
    json one = Deployment();
    one["status"][field] = value;
    INFO(field);
    CHECK_FALSE(FullyRolledOut(one));
  }
  json set = Deployment();
  set["kind"] = "StatefulSet";
  set["status"] = {{"observedGeneration", 3}, {"replicas", 2},          {"updatedReplicas", 2},
                   {"readyReplicas", 2},      {"currentRevision", "b"}, {"updateRevision", "b"}};
  CHECK(FullyRolledOut(set));
  set["status"]["currentRevision"] = "a";
  CHECK_FALSE(FullyRolledOut(set));
}

TEST_CASE("A pod that cannot get better by itself is told from one that starts", "[rollout]") {
  const auto pods = [](const json& status) {
    return json{{"items",
                 {{{"metadata", {{"name", "g-1"}}},
                   {"status", {{"containerStatuses", json::array({status})}}}}}}};
  };
  CHECK(WhyBroken(pods({{"name", "main"},
                        {"state", {{"waiting", {{"reason", "ContainerCreating"}}}}}})) == "");
  CHECK(WhyBroken(pods(
            {{"name", "main"}, {"restartCount", 1}, {"state", {{"running", json::object()}}}})) ==
        "");
  CHECK_THAT(
      WhyBroken(
          pods({{"name", "main"},
                {"restartCount", 1},
                {"state", {{"waiting", {{"reason", "CrashLoopBackOff"}, {"message", "back-off"}}}}},
                {"lastState",
                 {{"terminated",
                   {{"reason", "Error"}, {"exitCode", 78}, {"message", "weft.yaml:3"}}}}}})),
      ContainsSubstring("g-1") && ContainsSubstring("CrashLoopBackOff") &&
          ContainsSubstring("exit code 78: weft.yaml:3"));
  CHECK_THAT(
      WhyBroken(pods(
          {{"name", "main"},
           {"state", {{"waiting", {{"reason", "ImagePullBackOff"}, {"message", "not found"}}}}}})),
      ContainsSubstring("not found"));
  CHECK_THAT(WhyBroken(pods({{"name", "main"}, {"restartCount", 2}})),
             ContainsSubstring("restarted 2 times"));
  CHECK(WhyBroken(json::object()) == "");
}

}  // namespace
}  // namespace weft::rollout
