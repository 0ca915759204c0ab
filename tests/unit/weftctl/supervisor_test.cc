#include "services/weftctl/supervise/supervisor.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "libs/base/status.h"
#include "libs/http/admin_server.h"
#include "services/weftctl/supervise/backoff.h"
#include "tests/support/catch.h"

namespace weft::supervise {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

struct Folder {
  Folder() {
    char name[] = "/tmp/weft-sup-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

ServiceSpec Shell(std::string name, const std::string& script) {
  ServiceSpec spec;
  spec.name = std::move(name);
  spec.argv = {"/bin/sh", "-c", script};
  spec.grace = milliseconds(3000);
  return spec;
}

std::string Contents(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Appends its name to `order` when it is told to stop.
std::string StopScript(const fs::path& order, const std::string& name) {
  return "trap 'echo " + name + " >> " + order.string() +
         "; kill $child; exit 0' TERM; sleep 60 & child=$!; echo up; wait";
}

}  // namespace

TEST_CASE("Backoff doubles up to its bound and starts again after a stable run", "[supervise]") {
  Backoff backoff;
  CHECK(backoff.Next(milliseconds(1)) == milliseconds(500));
  CHECK(backoff.Next(milliseconds(1)) == milliseconds(1000));
  for (int i = 0; i < 10; ++i) backoff.Next(milliseconds(1));
  CHECK(backoff.Next(milliseconds(1)) == Backoff::kMost);
  CHECK(backoff.Next(Backoff::kStable) == milliseconds(500));
}

TEST_CASE("Supervisor drains in reverse order on SIGTERM", "[supervise]") {
  Folder folder;
  const fs::path order = folder.path / "order";
  Supervisor supervisor(
      {Shell("first", StopScript(order, "first")), Shell("second", StopScript(order, "second"))},
      {.log_dir = folder.path, .console = false});
  REQUIRE(supervisor.Start().ok());
  // The scripts have to set their traps before they are told to stop.
  std::this_thread::sleep_for(milliseconds(500));
  kill(getpid(), SIGTERM);
  CHECK(supervisor.Run() == 0);
  CHECK(Contents(order) == "second\nfirst\n");
}

TEST_CASE("Supervisor restarts a service that was killed", "[supervise]") {
  Folder folder;
  const fs::path starts = folder.path / "starts";
  int restarts_seen = 0;
  Supervisor supervisor(
      {Shell("flaky", "echo x >> " + starts.string() + "; exec sleep 60")},
      {.log_dir = folder.path,
       .console = false,
       .on_change = [&](const std::vector<ServiceStatus>& all) {
         if (all[0].restarts == 0 && all[0].state == "ready") kill(all[0].pid, SIGKILL);
         if (all[0].restarts == 1 && all[0].state == "ready" && restarts_seen++ == 0) {
           kill(getpid(), SIGTERM);
         }
       }});
  REQUIRE(supervisor.Start().ok());
  CHECK(supervisor.Run() == 0);
  CHECK(restarts_seen == 1);
  const std::string log = Contents(folder.path / "flaky.log");
  CHECK(log.find("was killed by signal 9") != std::string::npos);
  CHECK(log.find("starting again in 500 ms") != std::string::npos);
}

// SIGTERM stays blocked in this thread and in those it starts meanwhile: only the supervisor is to
// take it. What nobody took is gone at the end.
class TermBlocked {
 public:
  TermBlocked() {
    sigemptyset(&term_);
    sigaddset(&term_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term_, &before_);
  }
  ~TermBlocked() {
    const timespec now{};
    while (sigtimedwait(&term_, nullptr, &now) == SIGTERM) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  TermBlocked(const TermBlocked&) = delete;
  TermBlocked& operator=(const TermBlocked&) = delete;

 private:
  sigset_t term_;
  sigset_t before_;
};

TEST_CASE("Supervisor restarts a service that says it is not healthy", "[supervise]") {
  Folder folder;
  const TermBlocked blocked;
  std::atomic<bool> healthy{true};
  http::AdminCallbacks callbacks;
  callbacks.healthy = [&](std::string*) { return healthy.load(); };
  callbacks.ready = [](std::string*) { return true; };
  const auto admin = http::AdminServer::Start({}, std::move(callbacks)).value();
  ServiceSpec spec = Shell("hangs", "echo up; exec sleep 60");
  spec.admin_port = admin->port();
  Supervisor supervisor({std::move(spec)},
                        {.log_dir = folder.path,
                         .console = false,
                         .on_change = [&](const std::vector<ServiceStatus>& all) {
                           if (all[0].state != "ready") return;
                           healthy = all[0].restarts > 0;
                           if (healthy) kill(getpid(), SIGTERM);
                         }});
  REQUIRE(supervisor.Start().ok());
  CHECK(supervisor.Run() == 0);
  CHECK(supervisor.Statuses()[0].restarts == 1);
}

TEST_CASE("Supervisor's start fails with the last log lines of a service that ends",
          "[supervise]") {
  Folder folder;
  ServiceSpec bad = Shell("bad", "echo the reason is here; exit 3");
  bad.admin_port = 1;  // nothing answers there
  Supervisor supervisor({Shell("good", "exec sleep 60"), std::move(bad)},
                        {.log_dir = folder.path, .console = false});
  const absl::Status status = supervisor.Start();
  REQUIRE_FALSE(status.ok());
  const std::string message(Message(status));
  CHECK(message.find("bad exited with 3") == 0);
  CHECK(message.find("the reason is here") != std::string::npos);
  for (const ServiceStatus& service : supervisor.Statuses()) CHECK(service.pid == 0);
}

TEST_CASE("Supervisor's start fails when a service is not ready in time", "[supervise]") {
  Folder folder;
  ServiceSpec slow = Shell("slow", "exec sleep 60");
  slow.admin_port = 1;
  slow.ready_timeout = milliseconds(300);
  Supervisor supervisor({std::move(slow)}, {.log_dir = folder.path, .console = false});
  const absl::Status status = supervisor.Start();
  REQUIRE_FALSE(status.ok());
  CHECK(std::string(Message(status)).find("slow was not ready") == 0);
}

TEST_CASE("Supervisor says so when a program cannot be executed", "[supervise]") {
  Folder folder;
  ServiceSpec missing;
  missing.name = "missing";
  missing.argv = {"/nonexistent/weft-gateway"};
  missing.admin_port = 1;
  Supervisor supervisor({std::move(missing)}, {.log_dir = folder.path, .console = false});
  const absl::Status status = supervisor.Start();
  REQUIRE_FALSE(status.ok());
  CHECK(std::string(Message(status)).find("cannot execute") != std::string::npos);
}

TEST_CASE("Supervisor kills a service that ignores SIGTERM after its grace period", "[supervise]") {
  Folder folder;
  ServiceSpec stubborn = Shell("stubborn", "trap '' TERM; echo up; while :; do sleep 0.1; done");
  stubborn.grace = milliseconds(300);
  Supervisor supervisor({std::move(stubborn)}, {.log_dir = folder.path, .console = false});
  REQUIRE(supervisor.Start().ok());
  std::this_thread::sleep_for(milliseconds(200));
  kill(getpid(), SIGTERM);
  CHECK(supervisor.Run() == 1);
  CHECK(Contents(folder.path / "stubborn.log").find("killed: the grace period") !=
        std::string::npos);
}

}  // namespace weft::supervise
