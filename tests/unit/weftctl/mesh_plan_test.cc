#include "services/weftctl/supervise/mesh_plan.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "libs/base/status.h"
#include "services/weftctl/supervise/capture.h"
#include "tests/support/catch.h"

namespace weft::supervise {
namespace {

namespace fs = std::filesystem;

// A folder with programs that stand for the services: each prints its section as YAML, with fixed
// defaults and the addresses that `--set` gives it, which is all that a plan asks of a binary.
struct FakeMesh {
  FakeMesh() {
    char name[] = "/tmp/weft-plan-XXXXXX";
    root = mkdtemp(name);
    Program("collector", "", "127.0.0.1:9104",
            "  otlp_grpc_listen:\\n    - 127.0.0.1:4317\\n  otlp_http_listen: 127.0.0.1:4318\\n");
    Program("scanner", "[unix:/run/scanner.sock]", "127.0.0.1:9103", "  drain_timeout: 5s\\n");
    Program("worker", "[unix:/run/worker.sock]", "127.0.0.1:9102", "  model_id: tiny\\n");
    Program("scheduler", "[unix:/run/scheduler.sock]", "127.0.0.1:9101", "");
    Program("gateway", "127.0.0.1:8080", "127.0.0.1:9100",
            "  grpc_listen: 127.0.0.1:8081\\n  admin_key_file: /keys/admin.key\\n");
    options.home = Home{root / "home"};
    options.bin_dir = root;
    options.model_path = "/models/tiny.gguf";
  }
  ~FakeMesh() { fs::remove_all(root); }

  void Program(const std::string& service, const std::string& listen, const std::string& admin,
               const std::string& more) {
    const fs::path path = root / ("weft-" + service);
    std::ofstream(path) << "#!/bin/sh\nlisten='" << listen << "' admin='" << admin << "'\n"
                        << "for word; do case $word in\n"
                        << service << ".listen=*) listen=${word#*=} ;;\n"
                        << service << ".admin_listen=*) admin=${word#*=} ;;\nesac; done\n"
                        << "printf '" << service << ":\\n  listen: %s\\n  admin_listen: %s\\n"
                        << more << "' \"$listen\" \"$admin\"\n";
    chmod(path.c_str(), 0755);
  }
  void File(const std::string& yaml) {
    std::ofstream(root / "mesh.yaml") << yaml;
    options.config_file = root / "mesh.yaml";
  }

  fs::path root;
  PlanOptions options;
};

bool Sets(const ServiceSpec& spec, const std::string& set) {
  return std::find(spec.argv.begin(), spec.argv.end(), set) != spec.argv.end();
}

const ServiceSpec& Find(const MeshPlan& plan, const std::string& name) {
  const auto it = std::find_if(plan.services.begin(), plan.services.end(),
                               [&](const ServiceSpec& spec) { return spec.name == name; });
  REQUIRE(it != plan.services.end());
  return *it;
}

}  // namespace

TEST_CASE("MakePlan starts the services in the order in which they need each other",
          "[supervise]") {
  FakeMesh mesh;
  mesh.options.workers = 2;
  const auto plan = MakePlan(mesh.options);
  REQUIRE(plan.ok());
  std::vector<std::string> names;
  for (const ServiceSpec& spec : plan->services) names.push_back(spec.name);
  CHECK(names == std::vector<std::string>{"collector", "scanner", "worker-0", "worker-1",
                                          "scheduler", "gateway"});
  CHECK(plan->rest_url == "http://127.0.0.1:8080");
  CHECK(plan->grpc_address == "127.0.0.1:8081");
  CHECK(plan->admin_key_file == "/keys/admin.key");
  CHECK(plan->model_id == "tiny");
  CHECK(Find(*plan, "scanner").grace == std::chrono::seconds(15));
}

TEST_CASE("MakePlan fills in sockets, the model and the list of workers", "[supervise]") {
  FakeMesh mesh;
  mesh.options.workers = 2;
  const auto plan = MakePlan(mesh.options);
  REQUIRE(plan.ok());
  const std::string run = mesh.options.home.root + "/run/";
  CHECK(Sets(Find(*plan, "worker-0"), "worker.model=/models/tiny.gguf"));
  CHECK(Sets(Find(*plan, "worker-1"), "worker.listen=[\"unix:" + run + "worker-1.sock\"]"));
  CHECK(Sets(Find(*plan, "scheduler"), "scheduler.workers=[\"unix:" + run +
                                           "worker-0.sock\", \"unix:" + run + "worker-1.sock\"]"));
  CHECK(Sets(Find(*plan, "gateway"), "gateway.scheduler=unix:" + run + "scheduler.sock"));
  CHECK(Sets(Find(*plan, "gateway"), "telemetry.otlp_endpoint=127.0.0.1:4317"));
}

TEST_CASE("MakePlan gives every worker a GPU when it is asked to, unless the file says otherwise",
          "[supervise]") {
  FakeMesh mesh;
  mesh.options.workers = 2;
  mesh.options.gpu = true;
  const auto plan = MakePlan(mesh.options);
  REQUIRE(plan.ok());
  CHECK(Sets(Find(*plan, "worker-0"), "worker.device=cuda:0"));
  CHECK(Sets(Find(*plan, "worker-1"), "worker.device=cuda:1"));
  mesh.File("worker:\n  device: cpu\n");
  const auto named = MakePlan(mesh.options);
  REQUIRE(named.ok());
  CHECK_FALSE(Sets(Find(*named, "worker-0"), "worker.device=cuda:0"));
}

TEST_CASE("MakePlan gives further workers admin ports 10 apart and a share of the cores",
          "[supervise]") {
  FakeMesh mesh;
  mesh.options.workers = 3;
  const auto plan = MakePlan(mesh.options);
  REQUIRE(plan.ok());
  CHECK(Sets(Find(*plan, "worker-1"), "worker.admin_listen=127.0.0.1:9112"));
  CHECK(Sets(Find(*plan, "worker-2"), "worker.admin_listen=127.0.0.1:9122"));
  const auto& argv = Find(*plan, "worker-2").argv;
  CHECK(std::any_of(argv.begin(), argv.end(),
                    [](const std::string& a) { return a.rfind("worker.threads=", 0) == 0; }));
}

TEST_CASE("MakePlan leaves alone what the file or the environment sets", "[supervise]") {
  FakeMesh mesh;
  mesh.File("worker:\n  model: /mine.gguf\ngateway:\n  scheduler: 10.0.0.1:7000\n");
  setenv("WEFT_GATEWAY_SCANNER", "10.0.0.2:7000", 1);
  const auto plan = MakePlan(mesh.options);
  unsetenv("WEFT_GATEWAY_SCANNER");
  REQUIRE(plan.ok());
  for (const ServiceSpec& spec : plan->services) {
    for (const std::string& word : spec.argv) {
      CHECK(word.rfind("worker.model=", 0) != 0);
      CHECK(word.rfind("gateway.scheduler=", 0) != 0);
      CHECK(word.rfind("gateway.scanner=", 0) != 0);
    }
  }
}

TEST_CASE("MakePlan reports what a binary says about its configuration", "[supervise]") {
  FakeMesh mesh;
  const fs::path path = mesh.root / "weft-scheduler";
  std::ofstream(path) << "#!/bin/sh\necho 'mesh.yaml:7: scheduler.wrong' >&2; exit 2\n";
  const auto plan = MakePlan(mesh.options);
  REQUIRE_FALSE(plan.ok());
  CHECK(plan.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(Message(plan.status())).find("mesh.yaml:7") != std::string::npos);
}

TEST_CASE("MakePlan refuses two listeners of one address and names both keys", "[supervise]") {
  const auto refusal = [](const FakeMesh& mesh) {
    const auto plan = MakePlan(mesh.options);
    REQUIRE_FALSE(plan.ok());
    CHECK(plan.status().code() == absl::StatusCode::kInvalidArgument);
    return std::string(Message(plan.status()));
  };
  FakeMesh services;
  services.Program("scheduler", "[unix:/run/scheduler.sock]", "127.0.0.1:4318", "");
  CHECK(refusal(services) ==
        "collector.otlp_http_listen and scheduler.admin_listen need addresses of their own: "
        "127.0.0.1:4318 and 127.0.0.1:4318");
  FakeMesh one;
  one.Program("gateway", "127.0.0.1:8081", "127.0.0.1:9100",
              "  grpc_listen: 0.0.0.0:8081\\n  admin_key_file: /keys/admin.key\\n");
  CHECK(refusal(one) ==
        "gateway.listen and gateway.grpc_listen need addresses of their own: 127.0.0.1:8081 and "
        "0.0.0.0:8081");
  FakeMesh tcp;
  tcp.File("scanner:\n  listen: [unix:/run/scanner.sock, 127.0.0.1:9112]\n");
  tcp.Program("scanner", "[unix:/run/scanner.sock, 127.0.0.1:9112]", "127.0.0.1:9103", "");
  tcp.options.workers = 2;
  CHECK(refusal(tcp).find("scanner.listen and worker.admin_listen of worker-1 need") == 0);
  FakeMesh sockets;
  sockets.File(
      "scanner:\n  listen: [unix:/run/x.sock]\nscheduler:\n  listen: [unix:/run/x.sock]\n");
  sockets.Program("scanner", "[unix:/run/x.sock]", "127.0.0.1:9103", "");
  sockets.Program("scheduler", "[unix:/run/x.sock]", "127.0.0.1:9101", "");
  CHECK(refusal(sockets).find("scanner.listen and scheduler.listen need") == 0);
}

TEST_CASE("MakePlan reports a missing binary and a broken file", "[supervise]") {
  FakeMesh mesh;
  fs::remove(mesh.root / "weft-worker");
  CHECK(std::string(Message(MakePlan(mesh.options).status())).find("weft-worker") !=
        std::string::npos);
  mesh.File("worker: [\n");
  CHECK(std::string(Message(MakePlan(mesh.options).status())).find("mesh.yaml") !=
        std::string::npos);
}

TEST_CASE("The state file survives a round trip, and damage is an error", "[supervise]") {
  FakeMesh mesh;
  const std::string path = mesh.root / "mesh.json";
  MeshState state;
  state.supervisor_pid = 42;
  state.state = "ready";
  state.rest_url = "http://x";
  state.services = {{.name = "gateway",
                     .pid = 7,
                     .state = "ready",
                     .restarts = 2,
                     .admin_host = "127.0.0.1",
                     .admin_port = 9100}};
  REQUIRE(WriteState(path, state).ok());
  const auto read = ReadState(path);
  REQUIRE(read.ok());
  CHECK(StateJson(*read) == StateJson(state));
  std::ofstream(path) << "{\"supervisor_pid\": \"x\"}";
  CHECK(ReadState(path).status().code() == absl::StatusCode::kDataLoss);
  CHECK_FALSE(ReadState(path + ".absent").ok());
}

TEST_CASE("Home refuses a path that Unix sockets cannot hold", "[supervise]") {
  const auto home = Home::Find("/tmp/" + std::string(120, 'x'));
  REQUIRE(home.ok());
  const absl::Status status = home->Create();
  CHECK(std::string(Message(status)).find("too long") != std::string::npos);
  fs::remove_all(home->root);
}

TEST_CASE("Home makes the folder of the sockets private, also one that is there", "[supervise]") {
  char name[] = "/tmp/weft-home-XXXXXX";
  const std::string root = mkdtemp(name);
  const auto home = Home::Find(root);
  REQUIRE(home.ok());
  fs::create_directories(home->RunDir());
  fs::permissions(home->RunDir(), fs::perms(0755));
  REQUIRE(home->Create().ok());
  CHECK(fs::status(home->RunDir()).permissions() == fs::perms(0700));
  CHECK(fs::status(home->LogDir()).permissions() == fs::perms(0700));
  fs::remove_all(root);
}

TEST_CASE("Capture takes output and exit code, and kills what does not end", "[supervise]") {
  const auto done =
      Capture({"/bin/sh", "-c", "echo out; echo err >&2; exit 3"}, std::chrono::seconds(10));
  REQUIRE(done.ok());
  CHECK(done->exit_code == 3);
  CHECK(done->out == "out\n");
  CHECK(done->err == "err\n");
  CHECK(
      Capture({"/bin/sh", "-c", "exec sleep 60"}, std::chrono::milliseconds(100)).status().code() ==
      absl::StatusCode::kDeadlineExceeded);
  CHECK(Capture({"/nonexistent"}, std::chrono::seconds(1)).status().code() ==
        absl::StatusCode::kNotFound);
}

}  // namespace weft::supervise
