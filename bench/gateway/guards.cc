// bench_guards: how long the gateway's own parts take to say who asks, whether it may, within which
// limits, and to write that down. Everything is as in the gateway: keys, limits, the usage journal
// and the audit over SQLite, with their threads; only HTTP is not there.
//
//   bench_guards --folder DIR [--redis URL] [--rate 500] [--seconds 10] [--threads 1]
//
// run_guards.py starts it.
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/identity/key_service.h"
#include "libs/store/key_store.h"
#include "libs/telemetry/metrics.h"
#include "services/gateway/actor.h"
#include "services/gateway/admission.h"
#include "services/gateway/generation_request.h"
#include "services/gateway/store_config.h"
#include "services/gateway/stored_audit.h"
#include "services/gateway/traffic.h"
#include "services/gateway/usage_store.h"

namespace weft::bench {
namespace {

using gateway::LimitScope;
using Clock = std::chrono::steady_clock;
using Flags = std::map<std::string, std::string>;

// identity: key, role, failed sign-ins. audit: the row's way to the writer. limits: all of them,
// and the journal's first line. settle: what was used, the journal's last line.
enum Part { kIdentity, kAudit, kLimits, kSettle, kAll, kAllCpu, kParts };
constexpr std::array<const char*, kParts> kNames = {"identity", "audit", "limits",
                                                    "settle",   "all",   "all_cpu"};
using Sample = std::array<double, kParts>;  // microseconds

double Micros(Clock::duration d) { return std::chrono::duration<double, std::micro>(d).count(); }

double ThreadCpuMicros() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) * 1e-3;
}

// Those that bench/gateway/run_cached.py has too; none refuses.
gateway::TrafficConfig Limits(const std::string& redis) {
  gateway::TrafficConfig config;
  config.redis.url = redis;
  for (gateway::ScopeLimits& scope : config.limits.scopes) scope = {};
  for (const LimitScope scope : {LimitScope::kKey, LimitScope::kTenant, LimitScope::kAddress}) {
    auto& limits = config.limits.scopes[static_cast<size_t>(scope)];
    limits.requests_per_minute = 100'000'000;
    limits.tokens_per_minute = 100'000'000;
  }
  auto& tenant = config.limits.scopes[static_cast<size_t>(LimitScope::kTenant)];
  tenant.concurrent = 10'000;
  tenant.tokens_per_month = 1'000'000'000'000;
  config.limits.scopes[static_cast<size_t>(LimitScope::kModel)].tokens_per_minute = 1'000'000'000;
  return config;
}

class Guards {
 public:
  static absl::StatusOr<std::unique_ptr<Guards>> Make(const std::string& folder,
                                                      const std::string& redis) {
    std::unique_ptr<Guards> out(new Guards);
    WEFT_ASSIGN_OR_RETURN(auto database, gateway::OpenDatabase(folder + "/gateway.db", {}));
    identity::KeyServiceOptions keys;
    keys.pepper = std::string(32, 'p');
    out->keys_ =
        std::make_shared<identity::KeyService>(store::KeyStore::Over(database), std::move(keys));
    WEFT_ASSIGN_OR_RETURN(const auto key, out->keys_->Create({.name = "bench"}));
    out->authorization_ = "Bearer " + key.text;
    out->chain_ = std::make_unique<identity::AuthenticatorChain>(
        std::vector<std::shared_ptr<identity::Authenticator>>{out->keys_});
    out->audit_ = std::make_unique<gateway::StoredAudit>(database, std::string(32, 'a'));
    WEFT_ASSIGN_OR_RETURN(
        out->traffic_,
        gateway::Traffic::Make(Limits(redis), out->registry_,
                               std::make_shared<gateway::DatabaseUsageStore>(database),
                               folder + "/usage"));
    out->admission_ = std::make_unique<gateway::Admission>(*out->chain_, out->guard_,
                                                           out->traffic_->guard(), out->metrics_);
    return out;
  }

  absl::StatusOr<Sample> One() {
    gateway::GenerationRequest request;
    request.submit.set_model("synthetic");
    request.submit.set_prompt("Write a function that adds two numbers.");
    request.submit.mutable_sampling()->set_max_tokens(200);
    const std::string id = NewRequestId();
    const double cpu = ThreadCpuMicros();
    const auto begin = Clock::now();
    identity::Credentials credentials;
    credentials.authorization = authorization_;
    credentials.method = "POST";
    credentials.target = "/v1/chat/completions";
    credentials.remote_address = "192.0.2.7";
    const auto pass = admission_->Check(identity::Permission::kModelsUse, false, credentials);
    WEFT_RETURN_IF_ERROR(pass.status);
    const auto known = Clock::now();
    gateway::Actor actor{pass.principal, id, "192.0.2.7", "bench"};
    audit_->Note(gateway::AuditOf(actor, weft::Clock::Real().Wall(), "models:use", "model",
                                  "synthetic", "ok"));
    const auto noted = Clock::now();
    auto admitted = traffic_->guard().Admit(
        {.principal = pass.principal.get(), .address = credentials.remote_address}, request, id,
        "/v1/chat/completions");
    WEFT_RETURN_IF_ERROR(admitted.status);
    const auto taken = Clock::now();
    admitted.account->Finish({.tokens = {.prompt = 12, .cached_prompt = 0, .completion = 200},
                              .outcome = "stop",
                              .model_version = "v"});
    const auto end = Clock::now();
    return Sample{Micros(known - begin), Micros(noted - known), Micros(taken - noted),
                  Micros(end - taken),   Micros(end - begin),   ThreadCpuMicros() - cpu};
  }

 private:
  Guards() = default;

  telemetry::Registry registry_;
  gateway::Metrics metrics_{registry_};
  std::shared_ptr<identity::KeyService> keys_;
  std::string authorization_;
  std::unique_ptr<identity::AuthenticatorChain> chain_;
  std::unique_ptr<gateway::StoredAudit> audit_;
  gateway::AuthGuard guard_{{}};
  std::unique_ptr<gateway::Traffic> traffic_;
  std::unique_ptr<gateway::Admission> admission_;
};

// Poisson arrivals, as each comes on its own: nothing is warm by the one before.
absl::Status RunThread(Guards& guards, double rate, std::chrono::duration<double> length, int seed,
                       std::vector<Sample>& out) {
  std::mt19937_64 random(static_cast<uint64_t>(seed));
  std::exponential_distribution<double> gap(rate);
  const auto begin = Clock::now();
  double at = 0;
  while ((at += gap(random)) < length.count()) {
    std::this_thread::sleep_until(begin + std::chrono::duration<double>(at));
    WEFT_ASSIGN_OR_RETURN(out.emplace_back(), guards.One());
  }
  return absl::OkStatus();
}

absl::Status Run(const Flags& flags) {
  const auto flag = [&](const char* name, const char* other) {
    const auto it = flags.find(name);
    return it == flags.end() ? std::string(other) : it->second;
  };
  const int threads = std::stoi(flag("--threads", "1"));
  const double rate = std::stod(flag("--rate", "500"));
  const std::chrono::duration<double> length(std::stod(flag("--seconds", "10")));
  WEFT_ASSIGN_OR_RETURN(const auto guards, Guards::Make(flags.at("--folder"), flag("--redis", "")));
  for (int i = 0; i < 200; ++i) WEFT_RETURN_IF_ERROR(guards->One().status());
  std::vector<std::vector<Sample>> samples(static_cast<size_t>(threads));
  std::vector<absl::Status> outcomes(samples.size());
  std::vector<std::thread> running;
  for (size_t i = 0; i < samples.size(); ++i) {
    running.emplace_back([&, i] {
      outcomes[i] = RunThread(*guards, rate / threads, length, static_cast<int>(i), samples[i]);
    });
  }
  for (std::thread& thread : running) thread.join();
  for (const absl::Status& status : outcomes) WEFT_RETURN_IF_ERROR(status);
  std::vector<Sample> all;
  for (const auto& some : samples) all.insert(all.end(), some.begin(), some.end());
  std::string text = fmt::format(R"({{"requests":{})", all.size());
  for (size_t part = 0; part < kParts; ++part) {
    std::sort(all.begin(), all.end(),
              [&](const Sample& a, const Sample& b) { return a[part] < b[part]; });
    const auto q = [&](double p) {
      return all[static_cast<size_t>(std::lround(p * static_cast<double>(all.size() - 1)))][part];
    };
    text += fmt::format(R"(,"{}_us":{{"p50":{:.1f},"p90":{:.1f},"p99":{:.1f},"p99.9":{:.1f}}})",
                        kNames[part], q(0.5), q(0.9), q(0.99), q(0.999));
  }
  fmt::print("{}}}\n", text);
  return absl::OkStatus();
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) {
  weft::bench::Flags flags;
  for (int i = 1; i + 1 < argc; i += 2) flags[argv[i]] = argv[i + 1];
  absl::Status status = absl::InvalidArgumentError("see the head of bench/gateway/guards.cc");
  try {
    if (flags.contains("--folder")) status = weft::bench::Run(flags);
  } catch (const std::exception&) {
  }
  if (!status.ok()) fmt::print(stderr, "bench_guards: {}\n", weft::ToString(status));
  return status.ok() ? 0 : 1;
}
