#include "services/gateway/config.h"

#include <optional>
#include <string_view>
#include <utility>

#include "libs/base/status.h"
#include "libs/config/address.h"
#include "libs/config/binder.h"

namespace weft::gateway {
namespace {

using namespace std::chrono_literals;
using scan::Action;

const std::vector<std::pair<std::string, Action>> kActions = {{"off", Action::kOff},
                                                              {"flag", Action::kFlag},
                                                              {"sanitize", Action::kSanitize},
                                                              {"redact", Action::kRedact},
                                                              {"block", Action::kBlock}};

const std::vector<std::pair<std::string, PolicyPreset>> kPresets = {
    {"default", PolicyPreset::kDefault},
    {"off", PolicyPreset::kOff},
    {"flag", PolicyPreset::kFlag},
    {"redact", PolicyPreset::kRedact},
    {"block", PolicyPreset::kBlock}};

const std::vector<std::pair<std::string, PolicyPreset>> kPromptPresets = {
    {"default", PolicyPreset::kDefault}, {"off", PolicyPreset::kOff},
    {"flag", PolicyPreset::kFlag},       {"sanitize", PolicyPreset::kSanitize},
    {"redact", PolicyPreset::kRedact},   {"block", PolicyPreset::kBlock}};

void BindHttp(config::Binder& b, http::ServerOptions& o) {
  b.Int("threads", &o.threads, 1, 256, "I/O threads");
  b.Int("max_connections", &o.max_connections, 1, 1'000'000,
        "open connections; beyond, the one that waited longest for a request makes room; when none "
        "waits, 503");
  b.Int("max_connections_per_address", &o.max_connections_per_address, 0, 1'000'000,
        "open connections of one address (IPv6: of a /64), a proxy's too; 0 = no limit");
  b.Int("max_streams", &o.max_streams, 1, 1'000'000, "streamed answers at once; beyond, 503");
  b.Bytes("max_header_bytes", &o.max_header_bytes, 1024, 1 << 20,
          "size of a request's head; beyond, 431");
  b.Bytes("max_body_bytes", &o.max_body_bytes, 1024, 1 << 30,
          "size of a request's body; beyond, 413");
  b.Bytes("max_buffered_bytes", &o.max_buffered_bytes, 65536, 1 << 30,
          "bytes of one answer that a client has not read; beyond, it is cut off");
  b.Bytes(
      "max_total_buffered_bytes", &o.max_total_buffered_bytes, 1 << 20, uint64_t{1} << 40,
      "bytes of all answers that wait for their clients and of all bodies that are on their way; "
      "beyond, streams that hold more than their share are cut off, bodies get 503");
  b.Duration("header_timeout", &o.header_timeout, 100ms, 10min, "for a request's whole head");
  b.Duration("body_timeout", &o.body_timeout, 100ms, 1h, "for a request's whole body");
  b.Duration("idle_timeout", &o.idle_timeout, 100ms, 1h, "between two requests of a connection");
  b.Duration("write_timeout", &o.write_timeout, 100ms, 1h,
             "how long a client may read nothing of an answer before it is cut off");
}

void BindScan(config::Binder& b, Config& c) {
  b.Text("scanner", &c.scanner, "the scanner's gRPC address; empty = nothing is scanned");
  b.Section("scanner_tls", "TLS towards the scanner.",
            [&](config::Binder& tls) { rpc::BindClientTls(tls, c.scanner_tls); });
  b.Choice("scanner_on_failure", &c.scan.fail_open, {{"open", true}, {"closed", false}},
           "open: text passes while the scanner is away; closed: it is refused with 503");
  b.Duration("scanner_timeout", &c.scan.timeout, 10ms, 5min,
             "for one verdict; then the scanner counts as away");
  b.Section("policy",
            "What happens to the scanner's findings: off, flag, sanitize, redact, block; default = "
            "prompts: "
            "flag injection, redact secrets; outputs: flag code, redact secrets; code: flag all.",
            [&](config::Binder& policy) {
              policy.Choice(
                  "prompt", &c.prompt_policy, kPromptPresets,
                  "what users send; sanitize = what prompt rules match is removed and the prompt "
                  "trimmed, secrets are redacted");
              policy.Choice("output", &c.output_policy, kPresets,
                            "what models write (chat, completions, /predict, gRPC)");
              policy.Choice("code", &c.code_policy, kPresets, "what models write for /generate");
            });
  b.Objects<PolicyRuleConfig>(
      "policy_rules", &c.policy_rules, 256, "exceptions; the last one that matches decides",
      [](config::Binder& rule, PolicyRuleConfig& r) {
        rule.Text("kind", &r.kind, "prompt, output or code; empty = any");
        rule.Text("category", &r.category, "code, prompt or secret; empty = any");
        rule.Text("min_severity", &r.min_severity,
                  "info, low, medium, high or critical; empty = any");
        rule.Text("type", &r.type, "a finding's type, such as shell_injection; empty = any");
        rule.Text("rule", &r.rule, "a rule's name; empty = any");
        rule.Choice("action", &r.action, kActions,
                    "off, flag, sanitize (prompt rules in prompts; elsewhere as redact), redact or "
                    "block");
      });
}

void ApplyPreset(PolicyPreset preset, scan::TextKind kind, scan::Policy& policy) {
  if (preset == PolicyPreset::kDefault) return;
  auto& actions = policy.defaults[static_cast<size_t>(kind)];
  const auto action = static_cast<Action>(static_cast<int>(preset) - 1);
  const bool is_prompt = kind == scan::TextKind::kPrompt;
  // Code in a prompt and talk of prompts in an output are what such texts are about.
  actions[static_cast<size_t>(scan::Category::kCode)] = is_prompt ? Action::kOff : action;
  actions[static_cast<size_t>(scan::Category::kPrompt)] = is_prompt ? action : Action::kOff;
  actions[static_cast<size_t>(scan::Category::kSecret)] =
      action == Action::kSanitize ? Action::kRedact : action;
}

template <typename T>
absl::Status ParseName(const std::string& text, std::string_view key, size_t index,
                       std::optional<T>& out) {
  if (text.empty()) return absl::OkStatus();
  T value{};
  if (!scan::Parse(text, value)) {
    return InvalidArgument("gateway.policy_rules[{}].{}: there is no '{}'", index, key, text);
  }
  out = value;
  return absl::OkStatus();
}

}  // namespace

Config::Config() {
  http.threads = 2;
  grpc.max_message_bytes = uint64_t{8} << 20;
}

void Bind(config::Binder& b, Config& c) {
  b.Text("listen", &c.listen, "host:port of the REST API; port 0 = a free one", 3, 255);
  b.Text("grpc_listen", &c.grpc_listen, "host:port of the public gRPC API", 3, 255);
  b.Text("admin_listen", &c.admin_listen, "host:port of /metrics, /health and /ready", 3, 255);
  b.Section("http", "Limits of the REST API.",
            [&](config::Binder& inner) { BindHttp(inner, c.http); });
  b.Section("tls", "TLS of the REST API.", [&](config::Binder& inner) { Bind(inner, c.tls); });
  b.Section("edge", "Proxies, addresses and limits in front of the REST API.",
            [&](config::Binder& inner) { Bind(inner, c.edge); });
  b.Section("grpc_tls", "TLS of the public gRPC API.",
            [&](config::Binder& inner) { rpc::BindServerTls(inner, c.grpc.tls); });
  b.Bytes("grpc_max_message_bytes", &c.grpc.max_message_bytes, 1024, uint64_t{1} << 30,
          "size of one gRPC message");
  b.Int("grpc_max_concurrent_streams", &c.grpc.max_concurrent_streams, 1, 1'000'000,
        "calls at once on one gRPC connection");
  b.Text("scheduler", &c.scheduler,
         "gRPC address of the scheduler; several are separated by commas", 1);
  b.Section("scheduler_tls", "TLS towards the schedulers.",
            [&](config::Binder& tls) { rpc::BindClientTls(tls, c.scheduler_tls); });
  b.Duration("scheduler_wait", &c.scheduler_wait, 0ms, 10min,
             "how long requests wait while no scheduler is reachable, before 503");
  BindScan(b, c);
  BindStore(b, c.database, c.store);
  b.Secret("key_pepper", &c.key_pepper,
           "part of every key's hash; changing it makes all keys invalid");
  b.Text(
      "keys_file", &c.keys_file,
      "JSON file of key hashes that hold besides the database's, as `weftctl keys generate` writes "
      "it; read at start, so that several gateways share keys; empty = none");
  b.Text("admin_key_file", &c.admin_key_file,
         "where an admin key is written (mode 0600) when this file or every admin key is missing; "
         "empty = nowhere");
  b.Int("admin_requests_per_minute", &c.admin_requests_per_minute, 1, 1'000'000,
        "rate limit of that first key");
  b.Section("failed_auth", "Limit on requests with credentials that are not good.",
            [&](config::Binder& inner) {
              inner.Int("per_minute", &c.failed_auth.failures_per_minute, 0, 1'000'000,
                        "failures of one address (IPv6: of a /64); beyond, 429 except for keys "
                        "that were good lately; 0 = no limit");
              inner.Int("addresses", &c.failed_auth.addresses, 1, 10'000'000,
                        "addresses that are remembered at once");
            });
  b.Section("identity", "Who may come in, and as what.",
            [&](config::Binder& inner) { Bind(inner, c.identity); });
  Bind(b, c.traffic);
  b.Section("cache", "The response cache (docs/cache.md).",
            [&](config::Binder& inner) { Bind(inner, c.cache); });
  b.Text("default_model", &c.limits.default_model,
         "model of /generate and /predict when none is named; empty = the first one loaded");
  b.Int("max_choices", &c.limits.max_choices, 1, 128, "largest n of one request");
  b.Int("max_prompts", &c.limits.max_prompts, 1, 1024, "largest number of prompts of one request");
  b.Choice("developer_priority", &c.limits.developer_priority,
           {{"low", -1}, {"normal", 0}, {"high", 1}},
           "the highest priority without the permission models:prioritize, where the key has no "
           "max_priority of its own");
  b.Choice("prefix_cache", &c.salt_by_tenant, {{"shared", false}, {"tenant", true}},
           "who shares cached beginnings of prompts: everybody, or the keys of one tenant");
  b.List("idle_models", &c.idle_models, 256,
         "models whose workers may all be away because nobody asks for them: asked for one, the "
         "gateway "
         "answers 503 with Retry-After and counts model_starting, by which they are started");
  b.Int("max_prompt_characters", &c.limits.max_prompt_characters, 1, int64_t{1} << 30,
        "longest prompt, or messages together");
  b.Int("generate_max_prompt_characters", &c.limits.generate_max_prompt_characters, 1,
        int64_t{1} << 30, "longest prompt of /generate");
  b.Choice("prompt_over_limit", &c.limits.truncate_prompt, {{"refuse", false}, {"truncate", true}},
           "what happens to a longer prompt");
  b.Duration("request_timeout", &c.request_timeout, 1s, 24h, "for one generation; then 504");
  b.Duration("drain_timeout", &c.drain_timeout, 0s, 1h, "for running requests after SIGTERM");
  b.Section("cors", "Cross-origin requests of browsers.", [&](config::Binder& cors) {
    cors.List("allowed_origins", &c.cors.allowed_origins, 64, "origins, or '*'; empty = none");
    cors.Bool("allow_credentials", &c.cors.allow_credentials, "not together with '*'");
    cors.Duration("max_age", &c.cors.max_age, 0s, 24h,
                  "how long a browser keeps a preflight's answer");
  });
}

std::vector<std::string> Config::Schedulers() const {
  std::vector<std::string> out;
  std::string_view rest = scheduler;
  while (true) {
    const size_t comma = rest.find(',');
    std::string_view one = rest.substr(0, comma);
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
    if (!one.empty()) out.emplace_back(one);
    if (comma == std::string_view::npos) return out;
    rest.remove_prefix(comma + 1);
  }
}

absl::StatusOr<scan::Policy> Config::ScanPolicy() const {
  scan::Policy policy;
  ApplyPreset(prompt_policy, scan::TextKind::kPrompt, policy);
  ApplyPreset(output_policy, scan::TextKind::kOutput, policy);
  ApplyPreset(code_policy, scan::TextKind::kCode, policy);
  for (size_t i = 0; i < policy_rules.size(); ++i) {
    const PolicyRuleConfig& in = policy_rules[i];
    scan::PolicyRule rule;
    WEFT_RETURN_IF_ERROR(ParseName(in.kind, "kind", i, rule.kind));
    WEFT_RETURN_IF_ERROR(ParseName(in.category, "category", i, rule.category));
    WEFT_RETURN_IF_ERROR(ParseName(in.min_severity, "min_severity", i, rule.min_severity));
    rule.type = in.type;
    rule.rule = in.rule;
    rule.action = in.action;
    policy.rules.push_back(std::move(rule));
  }
  WEFT_RETURN_IF_ERROR(Annotate(policy.Validate(), "gateway.policy_rules"));
  return policy;
}

std::string Config::ScanPolicyText() const {
  std::string out = fmt::format("{} {} {} {} {}", scanner.empty() ? 0 : 1,
                                static_cast<int>(prompt_policy), static_cast<int>(output_policy),
                                static_cast<int>(code_policy), scan.fail_open ? 1 : 0);
  for (const PolicyRuleConfig& rule : policy_rules) {
    out += fmt::format("|{}:{}:{}:{}:{}:{}", rule.kind, rule.category, rule.min_severity, rule.type,
                       rule.rule, static_cast<int>(rule.action));
  }
  return out;
}

absl::Status Config::Validate() const {
  for (const auto& [key, text] :
       {std::pair("gateway.listen", &listen), std::pair("gateway.grpc_listen", &grpc_listen),
        std::pair("gateway.admin_listen", &admin_listen)}) {
    WEFT_RETURN_IF_ERROR(config::ParseHostPort(key, *text).status());
  }
  WEFT_RETURN_IF_ERROR(Annotate(http.Validate(), "gateway.http"));
  WEFT_RETURN_IF_ERROR(tls.Validate());
  WEFT_RETURN_IF_ERROR(edge.Validate());
  rpc::ServerOptions listening = grpc;
  listening.listen = {grpc_listen};
  WEFT_RETURN_IF_ERROR(Annotate(listening.Validate(), "gateway.grpc"));
  if (Schedulers().empty()) return InvalidArgument("gateway.scheduler: give at least one address");
  WEFT_RETURN_IF_ERROR(Annotate(scheduler_tls.Validate(false), "gateway.scheduler_tls"));
  WEFT_RETURN_IF_ERROR(Annotate(scanner_tls.Validate(false), "gateway.scanner_tls"));
  WEFT_RETURN_IF_ERROR(ScanPolicy().status());
  WEFT_RETURN_IF_ERROR(gateway::Validate(store));
  WEFT_RETURN_IF_ERROR(identity.Validate());
  WEFT_RETURN_IF_ERROR(traffic.Validate());
  return cors.Validate();
}

}  // namespace weft::gateway
