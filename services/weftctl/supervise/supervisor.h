// Starts the services of a mesh in order, keeps them running and drains them in reverse order.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace weft::supervise {

struct ServiceSpec {
  std::string name;                        // "worker-0": also the log file's name
  std::vector<std::string> argv;           // argv[0] is a path
  std::map<std::string, std::string> env;  // on top of the supervisor's own
  std::string admin_host = "127.0.0.1";
  uint16_t admin_port = 0;  // 0: ready as soon as it runs
  std::string ready_path = "/ready";
  // Asked every second once it was ready. A service that says 503 three times in a row (an engine
  // that hangs) is killed and started again; one that does not answer may be stopped or busy, and
  // is left alone. Empty: not asked.
  std::string live_path = "/health";
  std::chrono::milliseconds ready_timeout{120000};
  std::chrono::milliseconds grace{30000};  // from SIGTERM to SIGKILL
};

struct ServiceStatus {
  std::string name;
  int pid = 0;        // 0: not running
  std::string state;  // starting, ready, waiting (for its restart), draining, stopped
  uint32_t restarts = 0;
  std::string admin_host;
  uint16_t admin_port = 0;
};

struct SupervisorOptions {
  std::string log_dir;  // exists
  bool console = true;  // prefixed copies of the logs on stdout
  // Called after every change; the supervisor's owner writes it to the state file.
  std::function<void(const std::vector<ServiceStatus>&)> on_change = {};
};

// One thread, the caller's. Between construction and destruction SIGINT, SIGTERM, SIGHUP and
// SIGCHLD are blocked in the process and read by the supervisor; services start with none blocked,
// each in a process group of its own (so a Ctrl-C on the terminal reaches only the supervisor), and
// get SIGTERM from the kernel when the supervisor itself dies.
class Supervisor {
 public:
  Supervisor(std::vector<ServiceSpec> services, SupervisorOptions options);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Starts every service, each after the one before it is ready. On failure (a service ended or was
  // not ready in time; the last lines of its log are in the message) or a stop signal (CANCELLED)
  // everything that was started has been drained when this returns.
  absl::Status Start();

  // Restarts what ends, until SIGINT or SIGTERM; then drains. Returns the number of services that
  // had to be killed because they did not end in their grace period.
  int Run();

  std::vector<ServiceStatus> Statuses() const;

 private:
  struct Service;

  absl::Status Launch(Service& service);
  absl::Status AwaitReady(Service& service);
  void Pump(std::chrono::milliseconds wait);
  void ReadSignals();
  void Reap();
  void RestartDue();
  void CheckReadiness();
  void CheckLiveness();
  int Drain();
  void Changed();

  const SupervisorOptions options_;
  std::vector<std::unique_ptr<Service>> services_;
  int signal_fd_ = -1;
  int stop_signals_ = 0;  // a second one during the drain ends the grace period
  bool draining_ = false;
};

}  // namespace weft::supervise
