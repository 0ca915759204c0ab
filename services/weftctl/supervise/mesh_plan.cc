#include "services/weftctl/supervise/mesh_plan.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

#include "libs/base/status.h"
#include "libs/config/schema.h"
#include "libs/config/units.h"
#include "libs/config/value.h"
#include "libs/tokenizer/model_metadata.h"
#include "services/weftctl/supervise/capture.h"

namespace weft::supervise {
namespace {

constexpr std::chrono::seconds kPrintConfigTimeout{30};
constexpr std::chrono::seconds kGraceToEnd{10};
// Further workers on the same host listen this far above the first one's admin port.
constexpr int kWorkerPortStep = 10;

// The value at "worker.listen", or null.
const config::Value* Lookup(const config::Value& root, std::string_view path) {
  const config::Value* value = &root;
  while (value != nullptr && !path.empty()) {
    const size_t dot = path.find('.');
    value = value->Find(path.substr(0, dot));
    path = dot == std::string_view::npos ? "" : path.substr(dot + 1);
  }
  return value;
}

// An IPv6 literal as it stands before a port.
std::string Bracketed(const std::string& host) {
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

// One service's command line, and what its binary says that it amounts to.
class Instance {
 public:
  Instance(const PlanOptions& options, const config::Value& file, std::string section,
           std::string name)
      : options_(options), file_(file), section_(std::move(section)), name_(std::move(name)) {
    argv_ = {fmt::format("{}/weft-{}", options.bin_dir, section_)};
    if (!options.config_file.empty()) {
      argv_.insert(argv_.end(), {"--config", options.config_file});
    }
  }

  // Fills in a key about which neither the file nor the environment says anything.
  void Default(const std::string& path, const std::string& value) {
    if (Lookup(file_, path) != nullptr) return;
    if (std::getenv(config::Schema::EnvironmentName(path).c_str()) != nullptr) return;
    Override(path, value);
  }
  void Override(const std::string& path, const std::string& value) {
    argv_.insert(argv_.end(), {"--set", path + "=" + value});
  }

  // Asks the binary. The error is what the binary says about its configuration.
  absl::Status Resolve() {
    std::vector<std::string> ask = argv_;
    ask.push_back("--print-config");
    WEFT_ASSIGN_OR_RETURN(Captured answer, Capture(ask, kPrintConfigTimeout));
    if (answer.exit_code != 0) {
      return InvalidArgument("{} refuses its configuration:\n{}", name_, answer.err);
    }
    WEFT_ASSIGN_OR_RETURN(effective_, config::ParseYaml(answer.out, name_ + " --print-config"));
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Text(const std::string& key) const {
    const config::Value* value = Lookup(effective_, section_ + "." + key);
    if (value == nullptr || value->kind != config::Value::Kind::kScalar) {
      return Internal("{} --print-config does not show {}.{}", argv_[0], section_, key);
    }
    return value->scalar;
  }

  // The addresses under a key that takes one or a list of them. Empty: switched off.
  absl::StatusOr<std::vector<std::string>> Addresses(const std::string& key) const {
    std::vector<std::string> all;
    const config::Value* value = Lookup(effective_, section_ + "." + key);
    if (value != nullptr && value->kind == config::Value::Kind::kList) {
      for (const config::Value& item : value->list) all.push_back(item.scalar);
      return all;
    }
    WEFT_ASSIGN_OR_RETURN(std::string text, Text(key));
    if (!text.empty()) all.push_back(std::move(text));
    return all;
  }

  // Adds a claim for each address under the key; the answer is the first address, or "".
  absl::StatusOr<std::string> Claim(const std::string& key, const std::string& purpose,
                                    MeshPlan& plan) const {
    WEFT_ASSIGN_OR_RETURN(const std::vector<std::string> all, Addresses(key));
    for (const std::string& address : all) {
      WEFT_ASSIGN_OR_RETURN(PortClaim claim, ParseAddress(purpose, KeyName(key), address));
      plan.ports.push_back(std::move(claim));
    }
    return all.empty() ? "" : all.front();
  }

  absl::StatusOr<PortClaim> Admin() const {
    WEFT_ASSIGN_OR_RETURN(std::string address, Text("admin_listen"));
    return ParseAddress(name_ + " admin", KeyName("admin_listen"), address);
  }

  // "scanner.listen"; of one of several workers "worker.listen of worker-1".
  std::string KeyName(const std::string& key) const {
    const std::string path = section_ + "." + key;
    const bool several = name_ != section_ && options_.workers > 1;
    return several ? fmt::format("{} of {}", path, name_) : path;
  }

  // The admin port becomes a claim and the place to ask for readiness.
  absl::Status AddTo(MeshPlan& plan) const {
    WEFT_ASSIGN_OR_RETURN(PortClaim admin, Admin());
    ServiceSpec spec;
    spec.name = name_;
    spec.argv = argv_;
    spec.env["WEFT_HOME"] = options_.home.root;
    // A service gets the time to drain that it was configured with, and some to end.
    if (const config::Value* drain = Lookup(effective_, section_ + ".drain_timeout")) {
      const auto parsed = config::ParseDuration(drain->scalar);
      if (parsed.ok()) {
        spec.grace = std::chrono::duration_cast<std::chrono::milliseconds>(*parsed) + kGraceToEnd;
      }
    }
    spec.admin_host = admin.host;
    spec.admin_port = admin.port;
    plan.ports.push_back(std::move(admin));
    plan.services.push_back(std::move(spec));
    return absl::OkStatus();
  }

 private:
  const PlanOptions& options_;
  const config::Value& file_;
  std::string section_;
  std::string name_;
  std::vector<std::string> argv_;
  config::Value effective_;
};

// A list as --set takes it: YAML flow style, every item quoted.
std::string QuotedList(const std::vector<std::string>& items) {
  std::string text = "[";
  for (const std::string& item : items) {
    text += text.size() == 1 ? "\"" : ", \"";
    for (char c : item) {
      if (c == '"' || c == '\\') text += '\\';
      text += c;
    }
    text += '"';
  }
  return text + "]";
}

std::string WorkerName(int index) { return fmt::format("worker-{}", index); }

// As deploy/dev/jaeger.yaml has them.
constexpr uint16_t kJaegerPort = 16686;
constexpr uint16_t kJaegerOtlpPort = 14317;

void PlanJaeger(const PlanOptions& options, MeshPlan& plan) {
  ServiceSpec spec;
  spec.name = "jaeger";
  spec.argv = {options.jaeger};
  if (!options.jaeger_config.empty()) {
    spec.argv.insert(spec.argv.end(), {"--config", options.jaeger_config});
  }
  spec.admin_port = kJaegerPort;
  spec.ready_path = "/api/services";
  spec.live_path.clear();
  for (const auto& [purpose, port] :
       {std::pair("Jaeger", kJaegerPort), std::pair("Jaeger OTLP", kJaegerOtlpPort)}) {
    plan.ports.push_back({.purpose = purpose,
                          .key = "deploy/dev/jaeger.yaml",
                          .host = spec.admin_host,
                          .port = port,
                          .socket = {}});
  }
  plan.jaeger_url = fmt::format("http://{}:{}", spec.admin_host, kJaegerPort);
  plan.services.push_back(std::move(spec));
}

absl::Status PlanCollector(const PlanOptions& options, const config::Value& file, MeshPlan& plan,
                           std::string& otlp_endpoint) {
  Instance collector(options, file, "collector", "collector");
  collector.Default("collector.disk_queue.directory", options.home.root + "/spans");
  if (!options.jaeger.empty()) {
    collector.Override("collector.export.endpoint", fmt::format("127.0.0.1:{}", kJaegerOtlpPort));
  }
  WEFT_RETURN_IF_ERROR(collector.Resolve());
  WEFT_ASSIGN_OR_RETURN(otlp_endpoint, collector.Claim("otlp_grpc_listen", "OTLP gRPC", plan));
  WEFT_RETURN_IF_ERROR(collector.Claim("otlp_http_listen", "OTLP HTTP", plan).status());
  return collector.AddTo(plan);
}

// The name under which clients ask for the worker's model: the worker's own rule.
absl::StatusOr<std::string> ModelId(const Instance& worker) {
  WEFT_ASSIGN_OR_RETURN(std::string id, worker.Text("model_id"));
  if (!id.empty()) return id;
  WEFT_ASSIGN_OR_RETURN(const std::string path, worker.Text("model"));
  if (const auto metadata = OpenModelMetadata(path); metadata.ok()) {
    return DefaultModelName(**metadata, path);
  }
  return std::filesystem::path(path).stem().string();
}

absl::Status PlanWorkers(const PlanOptions& options, const config::Value& file,
                         const std::string& otlp, MeshPlan& plan) {
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  PortClaim first_admin;
  for (int i = 0; i < options.workers; ++i) {
    Instance worker(options, file, "worker", WorkerName(i));
    if (!options.model_path.empty()) worker.Default("worker.model", options.model_path);
    worker.Default("telemetry.otlp_endpoint", otlp);
    if (options.gpu) worker.Default("worker.device", fmt::format("cuda:{}", i));
    // Several workers of one host share its cores.
    if (options.workers > 1) {
      worker.Default("worker.threads", std::to_string(std::max(1, cores / options.workers)));
    }
    if (i == 0) {
      worker.Default("worker.listen", QuotedList({options.home.Socket(WorkerName(0))}));
    } else {
      worker.Override("worker.listen", QuotedList({options.home.Socket(WorkerName(i))}));
      worker.Override("worker.admin_listen", fmt::format("{}:{}", Bracketed(first_admin.host),
                                                         first_admin.port + kWorkerPortStep * i));
    }
    WEFT_RETURN_IF_ERROR(worker.Resolve());
    WEFT_RETURN_IF_ERROR(worker.Claim("listen", WorkerName(i) + " gRPC", plan).status());
    if (i == 0) {
      WEFT_ASSIGN_OR_RETURN(first_admin, worker.Admin());
      WEFT_ASSIGN_OR_RETURN(plan.model_id, ModelId(worker));
    }
    WEFT_RETURN_IF_ERROR(worker.AddTo(plan));
  }
  return absl::OkStatus();
}

absl::StatusOr<config::Value> ReadMeshFile(const std::string& path) {
  if (path.empty()) return config::ParseYaml("", "no file");
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) return NotFound("cannot read {}", path);
  return config::ParseYaml(text.str(), path);
}

}  // namespace

absl::StatusOr<MeshPlan> MakePlan(const PlanOptions& options) {
  WEFT_ASSIGN_OR_RETURN(config::Value file, ReadMeshFile(options.config_file));
  MeshPlan plan;
  if (!options.jaeger.empty()) PlanJaeger(options, plan);
  std::string otlp;
  WEFT_RETURN_IF_ERROR(PlanCollector(options, file, plan, otlp));

  Instance scanner(options, file, "scanner", "scanner");
  scanner.Default("scanner.listen", QuotedList({options.home.Socket("scanner")}));
  scanner.Default("telemetry.otlp_endpoint", otlp);
  WEFT_RETURN_IF_ERROR(scanner.Resolve());
  WEFT_RETURN_IF_ERROR(scanner.Claim("listen", "scanner gRPC", plan).status());
  WEFT_RETURN_IF_ERROR(scanner.AddTo(plan));

  WEFT_RETURN_IF_ERROR(PlanWorkers(options, file, otlp, plan));

  Instance scheduler(options, file, "scheduler", "scheduler");
  scheduler.Default("scheduler.listen", QuotedList({options.home.Socket("scheduler")}));
  scheduler.Default("telemetry.otlp_endpoint", otlp);
  std::vector<std::string> workers;
  workers.reserve(static_cast<size_t>(options.workers));
  for (int i = 0; i < options.workers; ++i) workers.push_back(options.home.Socket(WorkerName(i)));
  scheduler.Default("scheduler.workers", QuotedList(workers));
  WEFT_RETURN_IF_ERROR(scheduler.Resolve());
  WEFT_RETURN_IF_ERROR(scheduler.Claim("listen", "scheduler gRPC", plan).status());
  WEFT_RETURN_IF_ERROR(scheduler.AddTo(plan));

  Instance gateway(options, file, "gateway", "gateway");
  gateway.Default("gateway.scheduler", options.home.Socket("scheduler"));
  gateway.Default("gateway.scanner", options.home.Socket("scanner"));
  gateway.Default("gateway.database", options.home.root + "/gateway.db");
  gateway.Default("gateway.admin_key_file", options.home.AdminKeyPath());
  gateway.Default("gateway.default_model", plan.model_id);
  gateway.Default("telemetry.otlp_endpoint", otlp);
  WEFT_RETURN_IF_ERROR(gateway.Resolve());
  WEFT_ASSIGN_OR_RETURN(const std::string rest, gateway.Claim("listen", "gateway REST", plan));
  WEFT_ASSIGN_OR_RETURN(plan.grpc_address, gateway.Claim("grpc_listen", "gateway gRPC", plan));
  WEFT_ASSIGN_OR_RETURN(plan.admin_key_file, gateway.Text("admin_key_file"));
  plan.rest_url = "http://" + rest;
  WEFT_RETURN_IF_ERROR(gateway.AddTo(plan));
  WEFT_RETURN_IF_ERROR(CheckDistinct(plan.ports));
  return plan;
}

}  // namespace weft::supervise
