// The `gateway` section of the configuration.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "libs/http/server.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/server.h"
#include "services/gateway/auth_guard.h"
#include "services/gateway/cache_config.h"
#include "services/gateway/edge.h"
#include "services/gateway/front.h"
#include "services/gateway/generation.h"
#include "services/gateway/identity_config.h"
#include "services/gateway/store_config.h"
#include "services/gateway/tls_config.h"
#include "services/gateway/traffic.h"

namespace weft::config {
class Binder;
}

namespace weft::gateway {

// What happens to the findings of one kind of text. Default: libs/scan's Policy.
// kSanitize is for prompts alone.
enum class PolicyPreset : uint8_t { kDefault, kOff, kFlag, kSanitize, kRedact, kBlock };

// An exception to the presets; the last one that matches a finding decides.
struct PolicyRuleConfig {
  std::string kind;          // prompt, output, code; empty: any
  std::string category;      // code, prompt, secret; empty: any
  std::string min_severity;  // info … critical; empty: any
  std::string type;
  std::string rule;
  scan::Action action = scan::Action::kFlag;
};

struct Config {
  std::string listen = "127.0.0.1:8080";
  std::string grpc_listen = "127.0.0.1:8081";
  std::string admin_listen = "127.0.0.1:9100";
  http::ServerOptions http;  // host and port come from `listen`
  TlsConfig tls;             // of `listen`
  EdgeConfig edge;
  rpc::ServerOptions grpc;  // addresses come from `grpc_listen`

  std::string scheduler = "unix:.weft/run/scheduler.sock";  // one or several, comma separated
  rpc::TlsOptions scheduler_tls;
  std::chrono::milliseconds scheduler_wait{5'000};

  std::string scanner = "unix:.weft/run/scanner.sock";  // empty: nothing is scanned
  rpc::TlsOptions scanner_tls;
  ScanSettings scan;  // its policy is made from the presets and rules
  PolicyPreset prompt_policy = PolicyPreset::kDefault;
  PolicyPreset output_policy = PolicyPreset::kDefault;
  PolicyPreset code_policy = PolicyPreset::kDefault;
  std::vector<PolicyRuleConfig> policy_rules;

  std::string database = ".weft/gateway.db";  // or a postgresql:// URL
  StoreConfig store;
  std::string key_pepper;
  std::string keys_file;
  std::string admin_key_file;
  uint32_t admin_requests_per_minute = 1000;
  AuthGuardOptions failed_auth;
  IdentityConfig identity;
  TrafficConfig traffic;
  CacheConfig cache;

  RequestLimits limits;
  bool salt_by_tenant = false;
  std::vector<std::string> idle_models;
  std::chrono::milliseconds request_timeout{600'000};
  std::chrono::milliseconds drain_timeout{25'000};
  CorsSettings cors;

  Config();
  absl::Status Validate() const;
  std::vector<std::string> Schedulers() const;
  absl::StatusOr<scan::Policy> ScanPolicy() const;
  // All that decides what becomes of a finding, as text: for what must not outlive a change of it.
  std::string ScanPolicyText() const;
};

void Bind(config::Binder& binder, Config& config);

}  // namespace weft::gateway
