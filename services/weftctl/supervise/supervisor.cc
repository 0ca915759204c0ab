#include "services/weftctl/supervise/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/http/probe.h"
#include "services/weftctl/supervise/backoff.h"
#include "services/weftctl/supervise/log_pipe.h"

namespace weft::supervise {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr milliseconds kProbeTimeout{250};
constexpr milliseconds kProbeEvery{100};
constexpr milliseconds kLivenessEvery{1000};
constexpr int kUnhealthyToKill = 3;
constexpr milliseconds kIdleWait{1000};

sigset_t HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&set, signal);
  return set;
}

std::string HowItEnded(int wait_status) {
  if (WIFEXITED(wait_status)) return fmt::format("exited with {}", WEXITSTATUS(wait_status));
  return fmt::format("was killed by signal {} ({})", WTERMSIG(wait_status),
                     strsignal(WTERMSIG(wait_status)));
}

// What the child does between fork and exec: async-signal-safe calls only.
[[noreturn]] void ExecChild(int output, pid_t parent, char* const* argv, char* const* env) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(125);  // the supervisor died before prctl
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  // The caller's handlers must not run here: a SIGTERM may be pending already.
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(argv[0], argv, env);
  constexpr std::string_view kMessage = "cannot execute the program\n";
  [[maybe_unused]] ssize_t ignored = write(STDERR_FILENO, kMessage.data(), kMessage.size());
  _exit(127);
}

}  // namespace

struct Supervisor::Service {
  Service(ServiceSpec s, LogPipe::Options log_options)
      : spec(std::move(s)), log(std::move(log_options)) {}

  const ServiceSpec spec;
  LogPipe log;
  Backoff backoff;
  pid_t pid = 0;
  bool ready = false;
  uint32_t restarts = 0;
  SteadyTime started_at;
  SteadyTime next_probe;
  int unhealthy = 0;  // answers in a row
  std::optional<SteadyTime> restart_at;
  std::string ended;  // how the last process ended
};

Supervisor::Supervisor(std::vector<ServiceSpec> services, SupervisorOptions options)
    : options_(std::move(options)) {
  size_t width = 0;
  for (const ServiceSpec& spec : services) width = std::max(width, spec.name.size());
  for (ServiceSpec& spec : services) {
    LogPipe::Options log{.path = fmt::format("{}/{}.log", options_.log_dir, spec.name),
                         .prefix = fmt::format("{:<{}} | ", spec.name, width),
                         .console = options_.console};
    services_.push_back(std::make_unique<Service>(std::move(spec), std::move(log)));
  }
  const sigset_t set = HandledSignals();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  signal_fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  WEFT_CHECK(signal_fd_ >= 0);
}

Supervisor::~Supervisor() {
  Drain();
  close(signal_fd_);
  const sigset_t set = HandledSignals();
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

absl::Status Supervisor::Launch(Service& service) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Internal("cannot make a pipe: {}", std::strerror(errno));
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!service.spec.env.contains(text.substr(0, text.find('=')))) variables.push_back(text);
  }
  for (const auto& [name, value] : service.spec.env) {
    variables.push_back(fmt::format("{}={}", name, value));
  }
  std::vector<char*> env, argv;
  for (std::string& text : variables) env.push_back(text.data());
  env.push_back(nullptr);
  std::vector<std::string> arguments = service.spec.argv;
  for (std::string& text : arguments) argv.push_back(text.data());
  argv.push_back(nullptr);

  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) {
    close(ends[0]);
    close(ends[1]);
    return Internal("cannot fork: {}", std::strerror(errno));
  }
  if (pid == 0) ExecChild(ends[1], parent, argv.data(), env.data());
  close(ends[1]);
  service.log.Attach(ends[0]);
  service.pid = pid;
  service.ready = false;
  service.started_at = SteadyClock::now();
  service.next_probe = service.started_at;
  service.restart_at.reset();
  service.log.Note(fmt::format("started, pid {}", pid));
  Changed();
  return absl::OkStatus();
}

absl::Status Supervisor::AwaitReady(Service& service) {
  const SteadyTime deadline = service.started_at + service.spec.ready_timeout;
  std::string trouble;
  while (!service.ready) {
    if (stop_signals_ > 0) return Cancelled("stopped while {} was starting", service.spec.name);
    if (service.pid == 0) {
      trouble = service.ended;
      break;
    }
    if (SteadyClock::now() > deadline) {
      trouble = fmt::format("was not ready after {} s", Seconds(service.spec.ready_timeout));
      break;
    }
    Pump(kProbeEvery);
  }
  if (trouble.empty()) return absl::OkStatus();
  std::string lines;
  for (const std::string& line : service.log.recent()) lines += "\n  " + line;
  return FailedPrecondition("{} {}; its last lines:{}", service.spec.name, trouble, lines);
}

absl::Status Supervisor::Start() {
  for (auto& service : services_) {
    absl::Status status = Launch(*service);
    if (status.ok()) status = AwaitReady(*service);
    if (!status.ok()) {
      Drain();
      return status;
    }
  }
  return absl::OkStatus();
}

int Supervisor::Run() {
  while (stop_signals_ == 0) Pump(kIdleWait);
  return Drain();
}

// One round of the loop: logs, signals, ended processes, probes, restarts that are due.
void Supervisor::Pump(milliseconds wait) {
  SteadyTime wake = SteadyClock::now() + wait;
  std::vector<pollfd> fds{{signal_fd_, POLLIN, 0}};
  std::vector<Service*> readers;
  for (auto& service : services_) {
    if (service->log.fd() >= 0) {
      fds.push_back({service->log.fd(), POLLIN, 0});
      readers.push_back(service.get());
    }
    if (service->restart_at) wake = std::min(wake, *service->restart_at);
    const bool probed = service->spec.admin_port != 0 && !service->spec.live_path.empty();
    if (service->pid != 0 && (!service->ready || probed) && !draining_) {
      wake = std::min(wake, service->next_probe);
    }
  }
  const auto left = std::chrono::duration_cast<milliseconds>(wake - SteadyClock::now());
  poll(fds.data(), fds.size(), static_cast<int>(std::max<int64_t>(left.count() + 1, 0)));
  for (size_t i = 0; i < readers.size(); ++i) {
    if (fds[i + 1].revents != 0) readers[i]->log.Read();
  }
  ReadSignals();
  Reap();
  if (draining_) return;
  RestartDue();
  CheckReadiness();
  CheckLiveness();
}

void Supervisor::ReadSignals() {
  signalfd_siginfo info;
  while (read(signal_fd_, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
    if (info.ssi_signo != SIGCHLD) ++stop_signals_;
  }
}

void Supervisor::Reap() {
  for (auto& service : services_) {
    if (service->pid == 0) continue;
    int wait_status = 0;
    if (waitpid(service->pid, &wait_status, WNOHANG) != service->pid) continue;
    service->log.Read();
    service->pid = 0;
    service->ready = false;
    service->ended = HowItEnded(wait_status);
    if (draining_) {
      service->log.Note(service->ended);
    } else {
      const milliseconds pause = service->backoff.Next(SteadyClock::now() - service->started_at);
      service->restart_at = SteadyClock::now() + pause;
      service->log.Note(fmt::format("{}; starting again in {} ms", service->ended, pause.count()));
    }
    Changed();
  }
}

void Supervisor::RestartDue() {
  for (auto& service : services_) {
    // During Start() a service that ends is an error, which AwaitReady reports.
    if (!service->restart_at || SteadyClock::now() < *service->restart_at) continue;
    ++service->restarts;
    if (absl::Status status = Launch(*service); !status.ok()) {
      const milliseconds pause = service->backoff.Next(milliseconds(0));
      service->restart_at = SteadyClock::now() + pause;
      service->log.Note(ToString(status));
    }
  }
}

void Supervisor::CheckReadiness() {
  for (auto& service : services_) {
    if (service->pid == 0 || service->ready || SteadyClock::now() < service->next_probe) continue;
    const ServiceSpec& spec = service->spec;
    service->ready =
        spec.admin_port == 0 ||
        http::HttpGet(spec.admin_host, spec.admin_port, spec.ready_path, kProbeTimeout).status ==
            200;
    service->next_probe = SteadyClock::now() + kProbeEvery;
    if (service->ready) {
      service->log.Note(
          fmt::format("ready after {:.1f} s", Seconds(SteadyClock::now() - service->started_at)));
      Changed();
    }
  }
}

void Supervisor::CheckLiveness() {
  for (auto& service : services_) {
    const ServiceSpec& spec = service->spec;
    if (service->pid == 0 || !service->ready || SteadyClock::now() < service->next_probe) continue;
    service->next_probe = SteadyClock::now() + kLivenessEvery;
    if (spec.admin_port == 0 || spec.live_path.empty()) continue;
    const bool unhealthy =
        http::HttpGet(spec.admin_host, spec.admin_port, spec.live_path, kProbeTimeout).status ==
        503;
    service->unhealthy = unhealthy ? service->unhealthy + 1 : 0;
    if (service->unhealthy < kUnhealthyToKill) continue;
    service->unhealthy = 0;
    service->log.Note("killed: it says that it is not healthy");
    kill(-service->pid, SIGKILL);  // Reap sees its end
  }
}

int Supervisor::Drain() {
  draining_ = true;
  int killed = 0;
  const int signals_before = stop_signals_;
  for (auto it = services_.rbegin(); it != services_.rend(); ++it) {
    Service& service = **it;
    service.restart_at.reset();
    if (service.pid == 0) continue;
    service.log.Note("draining");
    Changed();
    kill(service.pid, SIGTERM);
    kill(service.pid, SIGCONT);  // one that was stopped can still drain
    const SteadyTime deadline = SteadyClock::now() + service.spec.grace;
    while (service.pid != 0) {
      if (SteadyClock::now() >= deadline || stop_signals_ > signals_before) {
        service.log.Note("killed: the grace period is over");
        kill(-service.pid, SIGKILL);
        ++killed;
        while (service.pid != 0) Pump(kProbeEvery);
        break;
      }
      Pump(kProbeEvery);
    }
  }
  Changed();
  return killed;
}

void Supervisor::Changed() {
  if (options_.on_change) options_.on_change(Statuses());
}

std::vector<ServiceStatus> Supervisor::Statuses() const {
  std::vector<ServiceStatus> all;
  for (const auto& service : services_) {
    std::string state = "stopped";
    if (service->pid != 0) {
      state = draining_ ? "draining" : service->ready ? "ready" : "starting";
    } else if (service->restart_at) {
      state = "waiting";
    }
    all.push_back({.name = service->spec.name,
                   .pid = service->pid,
                   .state = std::move(state),
                   .restarts = service->restarts,
                   .admin_host = service->spec.admin_host,
                   .admin_port = service->spec.admin_port});
  }
  return all;
}

}  // namespace weft::supervise
