// bench_mesh: what the mesh itself costs, with a worker that computes nothing.
//
//   bench_mesh [--model F.gguf] [--json OUT]           starts a synthetic worker and the scheduler
//   bench_mesh worker --listen ADDR --model F.gguf [--step-us N] [--first-token-at-once]
//                   [--own-pace] [--max-sequences N]  only the synthetic worker, for other
//                                                     benchmarks
#include <sys/utsname.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "bench/mesh/load.h"
#include "bench/mesh/synthetic_worker.h"
#include "libs/base/shutdown.h"
#include "libs/base/status.h"
#include "tests/integration/scheduler/harness.h"
#include "tests/support/process.h"

namespace weft::bench {
namespace {

using Json = nlohmann::ordered_json;

std::string CpuName() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string Commit() {
  std::string out;
  if (FILE* pipe = popen("git rev-parse --short HEAD 2>/dev/null", "r")) {
    char buffer[64];
    while (fgets(buffer, sizeof(buffer), pipe) != nullptr) out += buffer;
    pclose(pipe);
  }
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

// A synthetic worker and a scheduler, for as long as it lives.
class Setup {
 public:
  Setup(const std::string& model, const std::vector<std::string>& worker_flags) {
    const std::string worker_target = "unix:" + dir_.path() + "/w.sock";
    target_ = "unix:" + dir_.path() + "/s.sock";
    std::vector<std::string> argv = {testing::BinaryDir() + "/bench_mesh",
                                     "worker",
                                     "--listen",
                                     worker_target,
                                     "--model",
                                     model};
    argv.insert(argv.end(), worker_flags.begin(), worker_flags.end());
    worker_ = std::make_unique<testing::Process>(argv, dir_.path() + "/w.log");
    scheduler_ = std::make_unique<testing::Process>(
        std::vector<std::string>{
            testing::BinaryDir() + "/weft-scheduler", "--set", "scheduler.listen=" + target_,
            "--set", "scheduler.workers=" + worker_target, "--set",
            "scheduler.admin_listen=127.0.0.1:0", "--set", "telemetry.traces.enabled=false"},
        dir_.path() + "/s.log");
    for (int i = 0; i < 400; ++i) {
      testing::GatewayClient client(target_);
      grpc::ClientContext context;
      v1::TokenizeRequest request;
      request.set_model("synthetic");
      v1::TokenizeResponse response;
      if (client.stub().Tokenize(&context, request, &response).ok()) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    fmt::print(stderr, "the scheduler does not get ready; see {}\n", dir_.path());
    std::exit(1);
  }
  const std::string& target() const { return target_; }
  pid_t worker() const { return worker_->pid(); }
  pid_t scheduler() const { return scheduler_->pid(); }

 private:
  testing::TempDir dir_;
  std::string target_;
  std::unique_ptr<testing::Process> worker_;
  std::unique_ptr<testing::Process> scheduler_;
};

Json ToJson(const StreamsResult& r) {
  return {{"streams", r.streams},
          {"tokens_each", r.tokens_each},
          {"seconds", r.seconds},
          {"tokens_per_s", r.tokens_per_s},
          {"frames_per_s", r.frames_per_s},
          {"tokens_per_frame", r.tokens_per_frame},
          {"scheduler_cpu_us_per_frame", r.scheduler_us_per_frame},
          {"scheduler_cpu_us_per_token", r.scheduler_us_per_token},
          {"worker_cpu_us_per_frame", r.worker_us_per_frame}};
}

Json StreamsTable(const std::string& title, const Setup& setup, const std::vector<int>& streams,
                  uint32_t tokens) {
  Json rows = Json::array();
  fmt::print("\n{}\n{:>8} {:>11} {:>9} {:>10} {:>16} {:>16} {:>14}\n", title, "streams", "tokens/s",
             "frames/s", "tok/frame", "sched us/frame", "sched us/token", "worker us/frame");
  for (const int n : streams) {
    const StreamsResult r =
        MeasureStreams(setup.target(), setup.scheduler(), setup.worker(), n, tokens);
    fmt::print("{:>8} {:>11.0f} {:>9.1f} {:>10.1f} {:>16.1f} {:>16.2f} {:>14.1f}\n", r.streams,
               r.tokens_per_s, r.frames_per_s, r.tokens_per_frame, r.scheduler_us_per_frame,
               r.scheduler_us_per_token, r.worker_us_per_frame);
    rows.push_back(ToJson(r));
  }
  return rows;
}

int RunBench(const std::string& model, const std::string& json_path, const std::string& command) {
  Json out;
  out["command"] = command;
  out["commit"] = Commit();
  utsname system{};
  uname(&system);
  out["machine"] = {{"cpu", CpuName()},
                    {"cores", std::thread::hardware_concurrency()},
                    {"kernel", system.release}};
  {
    const Setup setup(model, {"--step-us", "10000"});
    out["paced_10ms"] = StreamsTable("Paced: a step each 10 ms (100 tokens/s a stream)", setup,
                                     {1, 16, 64, 256}, 300);
  }
  {
    const Setup setup(model, {"--step-us", "0"});
    out["unpaced"] =
        StreamsTable("Unpaced: steps as fast as they go", setup, {1, 16, 64, 256}, 2000);
  }
  {
    const Setup setup(model, {"--step-us", "10000", "--first-token-at-once"});
    MeasureLatency(setup.target(), 100, 100, 16);  // warm up
    const LatencyResult r = MeasureLatency(setup.target(), 100, 2000, 16);
    fmt::print(
        "\nAdded latency to the first token at {} req/s: p50 {:.3f} ms, p90 {:.3f} ms, "
        "p99 {:.3f} ms, max {:.3f} ms\n",
        r.rate, r.p50_ms, r.p90_ms, r.p99_ms, r.max_ms);
    out["added_first_token_latency_ms"] = {{"rate", r.rate},  {"requests", r.requests},
                                           {"p50", r.p50_ms}, {"p90", r.p90_ms},
                                           {"p99", r.p99_ms}, {"max", r.max_ms}};
  }
  if (!json_path.empty()) std::ofstream(json_path) << out.dump(2) << "\n";
  return 0;
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) {
  std::map<std::string, std::string> flags;
  bool worker = false;
  std::string command = "bench_mesh";
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    command += " " + arg;
    if (arg == "worker")
      worker = true;
    else if (arg == "--first-token-at-once" || arg == "--own-pace")
      flags[arg] = "1";
    else if (arg.rfind("--", 0) == 0 && i + 1 < argc) {
      flags[arg] = argv[++i];
      command += " " + flags[arg];
    } else {
      fmt::print(stderr, "bench_mesh: do not understand '{}'\n", arg);
      return 2;
    }
  }
  const char* from_env = std::getenv("WEFT_MODEL");
  const std::string model = flags.contains("--model") ? flags["--model"]
                            : from_env != nullptr     ? from_env
                                                  : ".weft/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!worker) return weft::bench::RunBench(model, flags["--json"], command);

  weft::BlockShutdownSignals();
  weft::bench::SyntheticWorkerOptions options;
  options.listen = flags["--listen"];
  options.model_path = model;
  if (flags.contains("--step-us")) {
    options.engine.step = std::chrono::microseconds(std::stoll(flags["--step-us"]));
  }
  if (flags.contains("--id")) options.model_id = flags["--id"];
  if (flags.contains("--max-sequences")) {
    options.engine.max_sequences = static_cast<uint32_t>(std::stoul(flags["--max-sequences"]));
  }
  options.engine.first_token_at_once = flags.contains("--first-token-at-once");
  options.engine.own_pace = flags.contains("--own-pace");
  const absl::Status status = weft::bench::RunSyntheticWorker(options);
  if (!status.ok()) fmt::print(stderr, "bench_mesh: {}\n", weft::ToString(status));
  return status.ok() ? 0 : 1;
}
