#include "services/scanner/server.h"

#include <atomic>
#include <memory>
#include <thread>

#include "libs/base/clock.h"
#include "libs/base/shutdown.h"
#include "libs/base/status.h"
#include "libs/config/address.h"
#include "libs/config/cli.h"
#include "libs/http/admin_server.h"
#include "libs/rpc/otlp_exporter.h"
#include "libs/rpc/server.h"
#include "libs/scan/rule_set.h"
#include "libs/telemetry/log.h"
#include "libs/telemetry/telemetry.h"
#include "services/scanner/config.h"
#include "services/scanner/scanner_service.h"
#include "services/scanner/scanner_telemetry.h"

namespace weft::scanner {
namespace {

using namespace std::chrono_literals;

const telemetry::Logger kLog("scanner");

absl::StatusOr<std::shared_ptr<const scan::RuleSet>> LoadRules(const Config& config) {
  scan::RuleSetOptions options;
  options.window_bytes = static_cast<size_t>(config.window_bytes);
  options.disabled = config.disabled_rules;
  auto rules = config.rules_directory.empty()
                   ? scan::RuleSet::Builtin(std::move(options))
                   : scan::RuleSet::WithDirectory(config.rules_directory, std::move(options));
  if (!rules.ok()) return Annotate(rules.status(), "scanner rules");
  return rules;
}

}  // namespace

absl::Status Run(const Config& config, const telemetry::Config& telemetry_config) {
  ShutdownSignal signal;
  WEFT_ASSIGN_OR_RETURN(const auto telemetry,
                        rpc::StartTelemetry(telemetry_config, "weft-scanner"));
  std::atomic<bool> ready{false};
  http::AdminCallbacks callbacks;
  callbacks.metrics = [&] { return telemetry->metrics().Expose(); };
  callbacks.healthy = [](std::string*) { return true; };
  callbacks.ready = [&](std::string* detail) {
    if (!ready) *detail = "starting or draining";
    return ready.load();
  };
  WEFT_ASSIGN_OR_RETURN(const auto admin_address,
                        config::ParseHostPort("scanner.admin_listen", config.admin_listen));
  WEFT_ASSIGN_OR_RETURN(
      auto admin,
      http::AdminServer::Start({admin_address.host, admin_address.port}, std::move(callbacks)));

  WEFT_ASSIGN_OR_RETURN(const auto rules, LoadRules(config));
  ScannerTelemetry scanner_telemetry(telemetry->metrics(), telemetry->tracer(), *rules);
  ScannerService service(rules, config, scanner_telemetry);
  auto server =
      rpc::Server::Start(config.server, {{&service, v1::ScannerService::service_full_name()}});
  absl::Status result = server.status();
  if (server.ok()) {
    (*server)->SetServing(true);
    ready = true;
    for (const std::string& address : (*server)->addresses()) {
      kLog.Info("listening", {{"address", address},
                              {"admin_port", admin->port()},
                              {"rules", rules->rules().size()},
                              {"ruleset_version", rules->version()}});
    }
    signal.Wait();
    kLog.Info("draining", {{"sessions", service.sessions()}});
    ready = false;
    (*server)->SetServing(false);
    service.BeginDrain();
    const SteadyTime until = Clock::Real().Now() + config.server.drain_timeout;
    while (service.sessions() > 0 && Clock::Real().Now() < until) {
      std::this_thread::sleep_for(10ms);
    }
    service.CloseAll();
    (*server)->Drain(2s);
    server->reset();
  }
  admin.reset();
  kLog.Info("stopped");
  telemetry->Shutdown(2s);
  return result;
}

}  // namespace weft::scanner
