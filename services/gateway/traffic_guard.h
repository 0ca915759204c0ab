// Every limit that a request has to pass, and the account of what it then uses.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/identity/principal.h"
#include "libs/limits/limiter.h"
#include "libs/telemetry/metrics.h"
#include "libs/usage/spool.h"
#include "services/gateway/account.h"
#include "services/gateway/generation_request.h"
#include "services/gateway/limits_config.h"
#include "services/gateway/stored_quotas.h"

namespace weft::gateway {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

struct TrafficMetrics {
  explicit TrafficMetrics(telemetry::Registry& registry);
  telemetry::CounterFamily refused;         // policy
  telemetry::CounterFamily soft_quota;      // policy
  telemetry::CounterFamily away;            // mode: local, refuse, settle
  telemetry::CounterFamily cost;            // model
  telemetry::HistogramFamily request_cost;  // model
  telemetry::CounterFamily usage_rows;      // outcome: stored, store_failed, damaged
};

struct TrafficOptions {
  LimitsConfig limits;
  usage::Pricing pricing;
  const StoredQuotas* quotas = nullptr;  // besides the configuration's; nullptr: none
};

// Thread safe. What is handed in outlives it.
class TrafficGuard {
 public:
  // `spool` nullptr: usage is not recorded.
  TrafficGuard(TrafficOptions options, std::unique_ptr<limits::Limiter> limiter, bool shared,
               usage::Spool* spool, TrafficMetrics& metrics, Clock& clock = Clock::Real());
  ~TrafficGuard();  // settles what is still to be settled

  struct Party {
    const identity::Principal* principal = nullptr;
    std::string_view address;  // a peer's name
  };
  // RESOURCE_EXHAUSTED with a retry time and a code, UNAVAILABLE when limits cannot be checked.
  // The headers are of every answer to the request.
  struct Pass {
    absl::Status status;
    HeaderList headers;
  };
  // For what makes no tokens: requests alone are counted.
  Pass CheckCall(const Party& party);

  struct Admitted : Pass {
    std::shared_ptr<Account> account;  // of a request that passed
  };
  // For a generation, whose id and model are known: all limits at once. Sets the tenant's weight
  // and, where the request asks for none, its priority.
  Admitted Admit(const Party& party, GenerationRequest& request, const std::string& request_id,
                 std::string_view endpoint);

 private:
  class LiveAccount;
  struct Settlement {
    std::vector<limits::Charge> charges;
    std::vector<uint64_t> actual;
    std::string lease;
  };
  struct Needs {
    bool generation = false;
    uint64_t tokens = 0;
    uint64_t cost_micros = 0;
    std::string_view model;
    std::string_view user;
  };

  std::vector<limits::Charge> ChargesOf(const Party& party, const Needs& needs) const;
  Pass Take(const std::vector<limits::Charge>& charges, std::string_view lease);
  void AddHeaders(const std::vector<limits::Charge>& charges, const limits::Verdict& verdict,
                  HeaderList& out);
  const LimitOverride* OverrideOf(LimitScope scope, std::string_view name) const;
  void Settle(Settlement settlement);
  void Run();  // the thread of a shared limiter

  const TrafficOptions options_;
  std::map<std::pair<LimitScope, std::string>, LimitOverride, std::less<>> overrides_;
  const std::unique_ptr<limits::Limiter> limiter_;
  const bool shared_;
  usage::Spool* const spool_;
  TrafficMetrics& metrics_;
  Clock& clock_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Settlement> settlements_;
  std::set<std::string> warned_;  // quotas beyond their soft threshold
  bool stop_ = false;
  bool asleep_ = false;  // the thread: it wants to be woken by a settlement
  std::thread thread_;
};

// Of text that no tokenizer has seen: a token for every four bytes, and a few for each message.
uint64_t EstimatePromptTokens(const GenerationRequest& request);

}  // namespace weft::gateway
