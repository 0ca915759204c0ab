// supervise, down, status: a mesh on one machine.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "libs/base/status.h"
#include "libs/http/probe.h"
#include "services/weftctl/commands.h"
#include "services/weftctl/supervise/lock_file.h"
#include "services/weftctl/supervise/mesh_plan.h"
#include "services/weftctl/supervise/ports.h"
#include "services/weftctl/supervise/state.h"

namespace weft::ctl {
namespace {

using supervise::Home;
using supervise::MeshPlan;
using supervise::MeshState;

struct SuperviseFlags {
  std::string home;
  std::string config;
  std::string bin_dir;
  std::string model;
  std::string jaeger;
  std::string jaeger_config;
  int workers = 1;
  bool gpu = false;
  bool detach = false;
};

std::string ReadFirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// As one word for a shell.
std::string Quoted(const std::string& path) {
  constexpr std::string_view kPlain = "/._-+";
  const bool plain = std::all_of(path.begin(), path.end(), [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || kPlain.find(c) != kPlain.npos;
  });
  if (plain) return path;
  std::string text = "'";
  for (const char c : path) text += c == '\'' ? "'\\''" : std::string(1, c);
  return text + "'";
}

// What a person does next, with lines that can be pasted. The key itself is shown only by the start
// that made it.
std::string Welcome(const MeshPlan& plan, const Home& home, bool new_key) {
  const std::string key_file = plan.admin_key_file;
  std::string text = fmt::format(
      "\nWeft is up.\n"
      "  REST   {0}/v1   (OpenAI's API; {0}/openapi.json)\n"
      "  gRPC   {1}   (weft.v1.InferenceService, with reflection)\n"
      "  logs   {2}\n"
      "  key    in {3} (mode 0600)\n",
      plan.rest_url, plan.grpc_address, home.LogDir(), key_file);
  if (new_key) {
    text +=
        fmt::format("         {}   <- the admin key, shown this once\n", ReadFirstLine(key_file));
  }
  if (!plan.jaeger_url.empty()) text += fmt::format("  Jaeger {}\n", plan.jaeger_url);
  text += fmt::format(
      "\nTalk to it:\n"
      "  curl -N {0}/v1/chat/completions -H \"Authorization: Bearer $(cat {1})\" -H "
      "'Content-Type: application/json' -d '{{\"model\": \"{2}\", \"stream\": true, "
      "\"max_tokens\": 64, "
      "\"messages\": [{{\"role\": \"user\", \"content\": \"Write a haiku about weaving.\"}}]}}'\n"
      "\nThe same in Python (OpenAI's client works too):\n"
      "  python3 -c 'import json, sys, urllib.request as u; "
      "print(json.load(u.urlopen(u.Request("
      "\"{0}/v1/chat/completions\", json.dumps({{\"model\": \"{2}\", \"max_tokens\": 64, "
      "\"messages\": "
      "[{{\"role\": \"user\", \"content\": \"Say hello in three languages.\"}}]}}).encode(), "
      "{{\"Content-Type\": \"application/json\", \"Authorization\": \"Bearer \" + "
      "open(sys.argv[1]).read().strip()}})))[\"choices\"][0][\"message\"][\"content\"])' {1}\n",
      plan.rest_url, Quoted(key_file), plan.model_id);
  return text;
}

// The parent of a detached supervisor: prints what the child reports and leaves with its code.
int AwaitChild(int report) {
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = read(report, buffer, sizeof(buffer))) != 0;) {
    if (got < 0 && errno != EINTR) break;
    if (got > 0) text.append(buffer, static_cast<size_t>(got));
  }
  close(report);
  const bool good = !text.empty() && text[0] == '0';
  std::fputs(text.empty() ? "weftctl: the supervisor ended without a word\n" : text.c_str() + 1,
             good ? stdout : stderr);
  return good ? 0 : 1;
}

// Leaves the terminal. Everything printed from now on goes to logs/supervisor.log.
void BecomeDaemon(const Home& home) {
  setsid();
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  int log = open((home.LogDir() + "/supervisor.log").c_str(),
                 O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (log < 0) log = null;
  dup2(null, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
}

void Report(int fd, char code, const std::string& text) {
  const std::string line = code + text;
  size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t wrote = write(fd, line.data() + sent, line.size() - sent);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) break;
    sent += static_cast<size_t>(wrote);
  }
  close(fd);
}

absl::StatusOr<int> RunMesh(const MeshPlan& plan, const Home& home, bool console,
                            std::optional<int> report) {
  const bool had_key = std::filesystem::exists(plan.admin_key_file);
  MeshState state{.supervisor_pid = getpid(),
                  .state = "starting",
                  .rest_url = plan.rest_url,
                  .grpc_address = plan.grpc_address,
                  .admin_key_file = plan.admin_key_file,
                  .services = {}};
  const auto save = [&](const std::vector<supervise::ServiceStatus>& services) {
    state.services = services;
    // Losing this file (a full disk) costs only what `status` shows.
    supervise::WriteState(home.StatePath(), state).IgnoreError();
  };
  supervise::Supervisor supervisor(
      plan.services, {.log_dir = home.LogDir(), .console = console, .on_change = save});
  if (absl::Status status = supervisor.Start(); !status.ok()) {
    state.state = "stopped";
    save(supervisor.Statuses());
    if (report) Report(*report, '1', fmt::format("weftctl: {}\n", Message(status)));
    return status;
  }
  state.state = "ready";
  save(supervisor.Statuses());
  const std::string welcome = Welcome(plan, home, !had_key);
  if (report) {
    Report(*report, '0', welcome + "\n./weft down stops it.\n");
  } else {
    fmt::print("{}\nCtrl-C drains and stops it.\n", welcome);
    std::fflush(stdout);
  }
  const int killed = supervisor.Run();
  state.state = "stopped";
  save(supervisor.Statuses());
  if (killed > 0) return Internal("{} services did not end in their grace period", killed);
  return 0;
}

absl::StatusOr<int> Supervise(const SuperviseFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(Home home, Home::Find(flags.home));
  WEFT_RETURN_IF_ERROR(home.Create());
  auto lock = supervise::LockFile::Acquire(home.LockPath());
  if (lock.status().code() == absl::StatusCode::kAlreadyExists) {
    fmt::print("{}\n", Message(lock.status()));
    return 0;
  }
  WEFT_RETURN_IF_ERROR(lock.status());
  WEFT_ASSIGN_OR_RETURN(
      MeshPlan plan,
      supervise::MakePlan({.home = home,
                           .config_file = flags.config,
                           .bin_dir = flags.bin_dir.empty() ? OwnFolder() : flags.bin_dir,
                           .workers = flags.workers,
                           .model_path = flags.model,
                           .gpu = flags.gpu,
                           .jaeger = flags.jaeger,
                           .jaeger_config = flags.jaeger_config}));
  for (const supervise::PortClaim& claim : plan.ports) {
    WEFT_RETURN_IF_ERROR(supervise::CheckPortFree(claim));
  }
  if (!flags.detach) return RunMesh(plan, home, /*console=*/true, std::nullopt);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Internal("cannot make a pipe: {}", std::strerror(errno));
  const pid_t child = fork();
  if (child < 0) return Internal("cannot fork: {}", std::strerror(errno));
  if (child > 0) {
    close(ends[1]);
    return AwaitChild(ends[0]);
  }
  close(ends[0]);
  BecomeDaemon(home);
  WEFT_RETURN_IF_ERROR(lock->WritePid());
  return RunMesh(plan, home, /*console=*/false, ends[1]);
}

absl::StatusOr<int> Down(const std::string& home_flag) {
  WEFT_ASSIGN_OR_RETURN(Home home, Home::Find(home_flag));
  const auto holder = supervise::LockHolder(home.LockPath());
  if (!holder) {
    fmt::print("nothing runs in {}\n", home.root);
    return 0;
  }
  fmt::print("draining (supervisor pid {}) …\n", *holder);
  std::fflush(stdout);
  if (kill(*holder, SIGTERM) != 0) {
    return PermissionDenied("cannot signal pid {}: {}", *holder, std::strerror(errno));
  }
  // Five services, each with its own grace period.
  for (int tenths = 0; tenths < 3000; ++tenths) {
    if (supervise::LockHolder(home.LockPath()) != holder) {
      fmt::print("stopped\n");
      return 0;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return DeadlineExceeded("pid {} still runs after 300 s", *holder);
}

absl::StatusOr<int> Status(const std::string& home_flag, bool as_json, bool quiet) {
  WEFT_ASSIGN_OR_RETURN(Home home, Home::Find(home_flag));
  const bool runs = supervise::LockHolder(home.LockPath()).has_value();
  if (quiet) return runs ? 0 : 3;
  if (!runs) {
    fmt::print("nothing runs in {}\n", home.root);
    return 3;
  }
  auto state = supervise::ReadState(home.StatePath());
  if (!state.ok()) {
    // The supervisor reads the configuration before it writes its first state.
    fmt::print("starting\n");
    return 0;
  }
  for (supervise::ServiceStatus& service : state->services) {
    if (service.state != "ready" || service.admin_port == 0) continue;
    const auto answer = http::HttpGet(service.admin_host, service.admin_port, "/ready",
                                      std::chrono::milliseconds(500));
    if (answer.status != 200) service.state = answer.status == 0 ? "no answer" : "not ready";
  }
  if (as_json) {
    fmt::print("{}\n", supervise::StateJson(*state));
    return 0;
  }
  fmt::print("{}  (supervisor pid {}, REST {}, gRPC {})\n", state->state, state->supervisor_pid,
             state->rest_url, state->grpc_address);
  for (const supervise::ServiceStatus& service : state->services) {
    const std::string admin =
        service.admin_port == 0
            ? ""
            : fmt::format("metrics http://{}:{}/metrics", service.admin_host, service.admin_port);
    fmt::print("  {:<10} {:<9} pid {:<8} restarts {:<3} {}\n", service.name, service.state,
               service.pid, service.restarts, admin);
  }
  return 0;
}

}  // namespace

std::string OwnFolder() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "." : self.parent_path().string();
}

void AddMeshCommands(CLI::App& app, Commands& commands) {
  auto flags = std::make_shared<SuperviseFlags>();
  auto* up = app.add_subcommand("supervise", "start the services of a mesh and keep them running");
  up->add_option("--home", flags->home, "state directory (default: $WEFT_HOME, else .weft)");
  up->add_option("--config", flags->config, "the mesh's YAML file")->check(CLI::ExistingFile);
  up->add_option("--bin-dir", flags->bin_dir, "where the services are (default: beside weftctl)");
  up->add_option("--model", flags->model,
                 "GGUF file or Hugging Face folder that the workers serve");
  up->add_option("--workers", flags->workers, "number of workers")->check(CLI::Range(1, 64));
  up->add_flag("--gpu", flags->gpu, "worker N computes on GPU N (worker.device cuda:N)");
  up->add_option("--jaeger", flags->jaeger, "path of a Jaeger binary to run beside the mesh");
  up->add_option("--jaeger-config", flags->jaeger_config, "Jaeger's configuration file");
  up->add_flag("--detach", flags->detach, "return when the mesh is ready, leave it running");
  commands.push_back({up, [flags] { return Supervise(*flags); }});

  auto down_home = std::make_shared<std::string>();
  auto* down = app.add_subcommand("down", "drain and stop the mesh of a state directory");
  down->add_option("--home", *down_home, "state directory (default: $WEFT_HOME, else .weft)");
  commands.push_back({down, [down_home] { return Down(*down_home); }});

  struct StatusFlags {
    std::string home;
    bool json = false;
    bool quiet = false;
  };
  auto status_flags = std::make_shared<StatusFlags>();
  auto* status = app.add_subcommand("status", "what runs, where, and whether it is ready");
  status->add_option("--home", status_flags->home,
                     "state directory (default: $WEFT_HOME, else .weft)");
  status->add_flag("--json", status_flags->json, "for programs");
  status->add_flag("--quiet", status_flags->quiet, "only the exit code: 0 runs, 3 does not");
  commands.push_back({status, [status_flags] {
                        return Status(status_flags->home, status_flags->json, status_flags->quiet);
                      }});
}

}  // namespace weft::ctl
