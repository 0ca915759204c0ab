#include "services/gateway/server.h"

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "libs/base/ids.h"
#include "libs/base/shutdown.h"
#include "libs/base/status.h"
#include "libs/base/thread_pool.h"
#include "libs/config/address.h"
#include "libs/config/cli.h"
#include "libs/http/admin_server.h"
#include "libs/identity/key_file.h"
#include "libs/identity/password.h"
#include "libs/identity/redis_seen_set.h"
#include "libs/limits/rate_limiter.h"
#include "libs/rpc/otlp_exporter.h"
#include "libs/telemetry/log.h"
#include "services/gateway/admission.h"
#include "services/gateway/api.h"
#include "services/gateway/api_error.h"
#include "services/gateway/front.h"
#include "services/gateway/grpc_guards.h"
#include "services/gateway/grpc_services.h"
#include "services/gateway/idempotency.h"
#include "services/gateway/identity_setup.h"
#include "services/gateway/stored_roles.h"
#include "services/gateway/upkeep.h"
#include "services/gateway/usage_store.h"

namespace weft::gateway {
namespace {

const telemetry::Logger kLog("gateway");
constexpr std::chrono::milliseconds kTick{100};

// The first key of a new database. Without a file to put it in none is made: its secret would be
// lost.
absl::Status Bootstrap(const Config& config, identity::KeyService& keys) {
  if (config.admin_key_file.empty()) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const auto existing, keys.List(""));
  for (const store::KeyRecord& key : existing) {
    if (key.role == "admin" && key.revoked_at == 0 &&
        std::filesystem::exists(config.admin_key_file)) {
      return absl::OkStatus();
    }
  }
  identity::NewKey key;
  key.name = "first admin key";
  key.role = identity::kAdminRole;
  key.requests_per_minute = config.admin_requests_per_minute;
  WEFT_ASSIGN_OR_RETURN(const identity::CreatedKey created, keys.Create(key));
  if (absl::Status status = identity::WriteSecretFile(config.admin_key_file, created.text + "\n");
      !status.ok()) {
    keys.Revoke(created.record.id).IgnoreError();
    return Annotate(std::move(status), "gateway.admin_key_file");
  }
  kLog.Info("wrote a first admin key",
            {{"key_id", created.record.id}, {"file", config.admin_key_file}});
  return absl::OkStatus();
}

class Server final : public GatewayServer {
 public:
  Server(const Config& config, telemetry::Telemetry& telemetry)
      : config_(config), telemetry_(telemetry), metrics_(telemetry.metrics()), scan_(config.scan) {}

  ~Server() override {
    Drain(std::chrono::milliseconds(0));
    for (const int watch : watches_) telemetry_.metrics().Unwatch(watch);
  }

  absl::Status Init() {
    WEFT_ASSIGN_OR_RETURN(scan_.policy, config_.ScanPolicy());
    WEFT_ASSIGN_OR_RETURN(database_, OpenDatabase(config_.database, config_.store));
    usage_store_ = std::make_shared<DatabaseUsageStore>(database_, config_.store.audit_key);
    WEFT_ASSIGN_OR_RETURN(quotas_, FollowQuotas(database_));
    WEFT_ASSIGN_OR_RETURN(
        traffic_,
        Traffic::Make(config_.traffic, telemetry_.metrics(), usage_store_,
                      JournalFolder(config_.traffic.usage, config_.database), quotas_.get()));
    WEFT_RETURN_IF_ERROR(InitData());
    WEFT_RETURN_IF_ERROR(InitIdentity());
    guard_ = std::make_unique<AuthGuard>(config_.failed_auth);
    refusals_ = std::make_unique<RefusalAudit>(*audit_, config_.store.refusals);
    admission_ = std::make_unique<Admission>(*identity_.authenticator, *guard_, traffic_->guard(),
                                             metrics_, refusals_.get());

    SchedulerClientOptions scheduler;
    scheduler.gateway_id = gateway_id_;
    scheduler.wait = config_.scheduler_wait;
    for (const std::string& target : config_.Schedulers()) {
      rpc::ChannelOptions channel;
      channel.target = target;
      channel.tls = config_.scheduler_tls;
      channel.max_message_bytes = uint64_t{32} << 20;
      scheduler.schedulers.push_back(std::move(channel));
    }
    WEFT_ASSIGN_OR_RETURN(scheduler_, SchedulerClient::Create(scheduler));
    if (!config_.scanner.empty()) {
      rpc::ChannelOptions channel;
      channel.target = config_.scanner;
      channel.tls = config_.scanner_tls;
      WEFT_ASSIGN_OR_RETURN(scanner_, ScannerClient::Create(channel, config_.scan.timeout));
    }

    auto deps = std::make_shared<ApiDeps>();
    deps->generation.scheduler = scheduler_.get();
    deps->generation.scanner = scanner_.get();
    deps->generation.scan = &scan_;
    deps->generation.metrics = &metrics_;
    deps->generation.tracer = &telemetry_.tracer();
    deps->generation.clock = &Clock::Real();
    deps->generation.request_timeout = config_.request_timeout;
    deps->generation.salt_by_tenant = config_.salt_by_tenant;
    deps->generation.idle_models = config_.idle_models;
    // A series that begins at its first event has no increase there: what starts workers would miss
    // it.
    for (const std::string& model : config_.idle_models) {
      static_cast<void>(metrics_.prediction_errors.With({model, kModelStarting}));
    }
    deps->limits = config_.limits;
    deps->keys = key_admin_.get();
    deps->audit = audit_.get();
    deps->resources = resources_.get();
    deps->data = data_.get();
    deps->login = Login();
    deps->active = &active_;
    deps->traffic = &traffic_->guard();
    WEFT_ASSIGN_OR_RETURN(cache_, AnswerCache::Create({.config = config_.cache,
                                                       .policy = config_.ScanPolicyText(),
                                                       .secret = config_.key_pepper},
                                                      traffic_->redis(), telemetry_.metrics()));
    deps->cache = cache_.get();
    deps->prompts = prompts_.get();
    deps->blocking = &blocking_;
    deps->bulk = &bulk_;
    deps->metrics_text = [this] { return telemetry_.metrics().Expose(); };
    deps->ready = [this](std::string* why) { return ready(why); };
    deps->version = config::Version();
    deps->edge = &edge_;
    WEFT_ASSIGN_OR_RETURN(table_, MakeApi(deps));
    for (const EdgeConfig::RouteLimit& route : config_.edge.routes) {
      WEFT_RETURN_IF_ERROR(
          Annotate(table_->SetLimits(route.route, route.limits), "gateway.edge.routes"));
    }
    front_ = std::make_unique<Front>(*table_, *admission_, metrics_, telemetry_.tracer(), edge_,
                                     config_.cors);
    WatchState();

    WEFT_RETURN_IF_ERROR(Listen(deps));
    StartUpkeep();
    ticker_ = std::thread([this] { Tick(); });
    return absl::OkStatus();
  }

  // Who is who, and what administrators do with it.
  absl::Status InitIdentity() {
    WEFT_ASSIGN_OR_RETURN(auto book, config_.identity.Roles());
    auto roles = std::make_shared<StoredRoles>(database_, std::move(book));
    // Redis makes nonces and ended tokens known to all gateways.
    std::shared_ptr<identity::SeenSet> seen = traffic_->redis() != nullptr
                                                  ? identity::NewRedisSeenSet(*traffic_->redis())
                                                  : identity::NewLocalSeenSet();
    WEFT_ASSIGN_OR_RETURN(identity_, MakeIdentity(config_, database_, roles, std::move(seen)));
    auto audit =
        std::make_unique<StoredAudit>(database_, config_.store.audit_key, traffic_->spool());
    resources_ = std::make_unique<ResourceAdmin>(
        database_, *audit, roles,
        [](std::string_view password) -> absl::StatusOr<std::string> {
          WEFT_RETURN_IF_ERROR(identity::CheckPassword(password));
          return identity::HashPassword(password);
        },
        secrets_->available());
    data_ = std::make_unique<DataAdmin>(database_, *audit, *secrets_);
    audit_ = std::move(audit);
    key_admin_ = std::make_unique<KeyAdmin>(*identity_.keys, *audit_,
                                            DefaultKeyRate(config_.identity.environment));
    return Bootstrap(config_, *identity_.keys);
  }

  std::shared_ptr<const LoginDeps> Login() {
    auto login = std::make_shared<LoginDeps>(identity_.Login());
    login->addresses = guard_.get();
    login_failures_ = limits::NewLocalRateLimiter();
    login->failures = login_failures_.get();
    login->failures_of_user = config_.identity.failed_logins;
    login->threads = &login_threads_;
    login->audit = audit_.get();
    login->metrics = &metrics_;
    login->clock = &Clock::Real();
    return login;
  }

  // What is kept beside identity and administration, and for how long.
  absl::Status InitData() {
    WEFT_ASSIGN_OR_RETURN(auto master_keys, MasterKeysOf(config_.store));
    secrets_ = std::make_unique<store::SecretStore>(std::move(master_keys));
    WEFT_ASSIGN_OR_RETURN(
        policies_, FollowedPolicies::Start(database_, store::Topic::kSettings, "tenants' settings",
                                           &TenantPolicies::Load));
    prompts_ =
        std::make_unique<PromptKeeper>(database_, *secrets_, *policies_, config_.store.prompts);
    return absl::OkStatus();
  }

  void StartUpkeep() {
    UpkeepOptions options;
    options.retention = config_.store.retention;
    options.metrics_interval = config_.store.metrics_interval;
    options.prompt_days = config_.store.prompts.days;
    options.audit_key = config_.store.audit_key;
    options.gateway = gateway_id_;
    options.folder = JournalFolder(config_.traffic.usage, config_.database);
    upkeep_ = std::make_unique<Upkeep>(database_, std::move(options),
                                       [this] { return front_->served(); });
  }

  absl::Status Listen(const std::shared_ptr<ApiDeps>& deps) {
    WEFT_ASSIGN_OR_RETURN(const auto rest, config::ParseHostPort("gateway.listen", config_.listen));
    http::ServerOptions http = config_.http;
    http.host = rest.host;
    http.port = rest.port;
    WEFT_ASSIGN_OR_RETURN(http.tls, MakeTls(config_.tls));
    tls_ =
        std::make_unique<TlsReloader>(http.tls, config_.tls.reload_interval, telemetry_.metrics());
    WEFT_ASSIGN_OR_RETURN(
        http_,
        http::Server::Start(http, WithIdempotency(*table_->router(), NewLocalIdempotencyStore()),
                            front_->Hooks()));
    grpc_services_ = std::make_unique<GrpcServices>(deps, *admission_);
    rpc::ServerOptions grpc = config_.grpc;
    grpc.listen = {config_.grpc_listen};
    std::vector<std::string> services;
    for (const rpc::ServiceEntry& entry : grpc_services_->entries()) services.push_back(entry.name);
    WEFT_RETURN_IF_ERROR(CheckGrpcGuards(services));
    WEFT_ASSIGN_OR_RETURN(grpc_, rpc::Server::Start(grpc, grpc_services_->entries()));
    http::AdminCallbacks admin;
    admin.metrics = deps->metrics_text;
    admin.ready = deps->ready;
    WEFT_ASSIGN_OR_RETURN(const auto address,
                          config::ParseHostPort("gateway.admin_listen", config_.admin_listen));
    WEFT_ASSIGN_OR_RETURN(admin_, http::AdminServer::Start({address.host, address.port}, admin));
    return absl::OkStatus();
  }

  uint16_t http_port() const override { return http_->port(); }
  uint16_t admin_port() const override { return admin_->port(); }
  std::string grpc_address() const override { return grpc_->addresses().front(); }

  bool ready(std::string* why) const override {
    if (draining_) {
      *why = "the gateway is draining";
    } else if (!identity_.keys->store_status().ok()) {
      *why = "the key database cannot be used";
    } else if (!scheduler_->connected()) {
      *why = "no scheduler is reachable";
    } else if (scheduler_->Models().empty()) {
      *why = "no model is loaded";
    } else if (scanner_ && !config_.scan.fail_open && !scanner_->connected()) {
      *why = "the scanner is not reachable";
    } else {
      return true;
    }
    return false;
  }

  void Drain(std::chrono::milliseconds grace) override {
    std::lock_guard lock(drain_mutex_);
    if (std::exchange(drained_, true)) return;
    draining_ = true;
    if (grpc_) grpc_->SetServing(false);
    const auto end = std::chrono::steady_clock::now() + grace;
    const bool idle = http_ && http_->Drain(grace);
    // gRPC calls end by themselves within what is left of the time, or with an error.
    while (!idle && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(
        end - std::chrono::steady_clock::now());
    if (grpc_) grpc_->Drain(std::max(left, std::chrono::nanoseconds::zero()));
    active_.FailAll(Unavailable("The server is shutting down. Please try again."));
    if (http_) {
      http_->Drain(std::chrono::milliseconds(500));  // lets those errors out
      http_->Stop();
    }
    {
      std::lock_guard stop_lock(stop_mutex_);
      stop_ = true;
    }
    stop_changed_.notify_all();
    if (ticker_.joinable()) ticker_.join();
    admin_.reset();
    // The clients end their calls before what those calls use goes away.
    scheduler_.reset();
    scanner_.reset();
  }

 private:
  void WatchState() {
    telemetry::Registry& r = telemetry_.metrics();
    const auto watch = [&](const char* name, const char* help, std::function<double()> value) {
      watches_.push_back(r.WatchGauge(name, help, {}, std::move(value)));
    };
    const auto count = [&](const char* name, const char* help, std::function<double()> value) {
      watches_.push_back(r.WatchCounter(name, help, {}, std::move(value)));
    };
    watch("weft_gateway_schedulers_connected", "Schedulers with an open session",
          [this] { return static_cast<double>(scheduler_->stats().links_open); });
    watch("weft_gateway_sequences", "Sequences that schedulers work on",
          [this] { return static_cast<double>(scheduler_->stats().open); });
    count("weft_gateway_sequences_resumed_total",
          "Sequences that went on after their scheduler was lost",
          [this] { return static_cast<double>(scheduler_->stats().resumed); });
    count("weft_gateway_sequences_lost_total",
          "Sequences whose scheduler was lost and that could not go on",
          [this] { return static_cast<double>(scheduler_->stats().lost); });
    watch("weft_gateway_scanner_connected", "1 while the scanner's session is open",
          [this] { return scanner_ && scanner_->connected() ? 1.0 : 0.0; });
    watch("weft_http_connections", "Open connections of the REST API",
          [this] { return http_ ? static_cast<double>(http_->stats().connections) : 0.0; });
    watch("weft_http_buffered_bytes", "Bytes of answers and bodies that the REST API holds",
          [this] { return http_ ? static_cast<double>(http_->stats().buffered_bytes) : 0.0; });
    count("weft_http_streams_stalled_total", "Streams cut because their reader was too slow",
          [this] { return http_ ? static_cast<double>(http_->stats().stalled_streams) : 0.0; });
    count("weft_http_connections_evicted_total",
          "Connections closed while they waited for a request, to make room",
          [this] { return http_ ? static_cast<double>(http_->stats().evicted_connections) : 0.0; });
    count("weft_http_connections_refused_total", "Connections beyond a limit",
          [this] { return http_ ? static_cast<double>(http_->stats().refused_connections) : 0.0; });
    count("weft_tls_handshake_failures_total", "TLS handshakes of the REST API that failed",
          [this] { return http_ ? static_cast<double>(http_->stats().tls_failures) : 0.0; });
    watch("weft_http_streams", "Streamed answers that are open",
          [this] { return http_ ? static_cast<double>(http_->stats().streams) : 0.0; });
  }

  void Tick() {
    auto second = std::chrono::steady_clock::now();
    std::unique_lock lock(stop_mutex_);
    while (!stop_changed_.wait_for(lock, kTick, [this] { return stop_; })) {
      lock.unlock();
      scheduler_->Tick();
      active_.Tick();
      if (tls_) tls_->Tick();
      cache_->Tick();
      if (std::chrono::steady_clock::now() - second >= std::chrono::seconds(1)) {
        second += std::chrono::seconds(1);
        front_->TickSecond();
        refusals_->Tick();
      }
      ShowModels();
      if (std::string why; grpc_ && !draining_) grpc_->SetServing(ready(&why));
      lock.lock();
    }
  }

  // Keeps model_info as the schedulers' list is. The ticker's thread.
  void ShowModels() {
    std::set<std::vector<std::string>> now;
    for (const v1::ModelInfo& model : scheduler_->Models()) {
      now.insert({model.id(), model.version(), "weft", model.quantization()});
    }
    if (now == shown_models_) return;
    for (const std::vector<std::string>& labels : shown_models_) {
      if (!now.contains(labels)) {
        metrics_.model_info.Remove({labels[0], labels[1], labels[2], labels[3]});
      }
    }
    for (const std::vector<std::string>& labels : now) {
      metrics_.model_info.With({labels[0], labels[1], labels[2], labels[3]}).Set(1);
    }
    shown_models_ = std::move(now);
  }

  const Config config_;
  const std::string gateway_id_ = "gateway-" + NewRequestId();
  telemetry::Telemetry& telemetry_;
  Metrics metrics_;
  ScanSettings scan_;
  std::vector<int> watches_;
  ActiveRequests active_;
  ThreadPool blocking_{"gateway-store", 4, 256};
  ThreadPool bulk_{"gateway-bulk", 2, 16};
  std::shared_ptr<store::Database> database_;
  std::shared_ptr<DatabaseUsageStore> usage_store_;
  std::unique_ptr<StoredQuotas> quotas_;
  std::unique_ptr<Traffic> traffic_;  // before what holds generations: they settle with it
  Identity identity_;
  std::unique_ptr<identity::AuditSink> audit_;
  std::unique_ptr<KeyAdmin> key_admin_;
  std::unique_ptr<ResourceAdmin> resources_;
  std::unique_ptr<store::SecretStore> secrets_;
  std::unique_ptr<FollowedPolicies> policies_;
  std::unique_ptr<PromptKeeper> prompts_;  // before what holds generations, as traffic_
  std::unique_ptr<DataAdmin> data_;
  std::unique_ptr<AnswerCache> cache_;  // before what holds generations, as traffic_
  std::unique_ptr<AuthGuard> guard_;
  std::unique_ptr<limits::RateLimiter> login_failures_;
  ThreadPool login_threads_{"gateway-login", 2, 32};
  std::unique_ptr<RefusalAudit> refusals_;
  std::unique_ptr<Admission> admission_;
  std::unique_ptr<SchedulerClient> scheduler_;
  std::unique_ptr<ScannerClient> scanner_;
  std::unique_ptr<EndpointTable> table_;
  const Edge edge_{config_.edge};
  std::unique_ptr<Front> front_;
  std::unique_ptr<Upkeep> upkeep_;
  std::unique_ptr<TlsReloader> tls_;
  std::unique_ptr<http::Server> http_;
  std::unique_ptr<GrpcServices> grpc_services_;
  std::unique_ptr<rpc::Server> grpc_;
  std::unique_ptr<http::AdminServer> admin_;
  std::atomic<bool> draining_{false};
  std::mutex drain_mutex_;
  bool drained_ = false;
  std::mutex stop_mutex_;
  std::condition_variable stop_changed_;
  bool stop_ = false;
  std::set<std::vector<std::string>> shown_models_;  // the ticker's thread only
  std::thread ticker_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GatewayServer>> GatewayServer::Start(
    const Config& config, telemetry::Telemetry& telemetry) {
  auto server = std::make_unique<Server>(config, telemetry);
  WEFT_RETURN_IF_ERROR(server->Init());
  return std::unique_ptr<GatewayServer>(std::move(server));
}

absl::Status Run(const Config& config, const telemetry::Config& telemetry_config) {
  ShutdownSignal shutdown;
  WEFT_ASSIGN_OR_RETURN(auto telemetry, rpc::StartTelemetry(telemetry_config, "weft-gateway"));
  WEFT_ASSIGN_OR_RETURN(auto server, GatewayServer::Start(config, *telemetry));
  kLog.Info("serving", {{"http", config.listen},
                        {"grpc", server->grpc_address()},
                        {"admin_port", server->admin_port()}});
  shutdown.Wait();
  kLog.Info("draining");
  server->Drain(config.drain_timeout);
  server.reset();
  telemetry->Shutdown(std::chrono::seconds(2));
  return absl::OkStatus();
}

}  // namespace weft::gateway
