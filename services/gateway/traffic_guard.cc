#include "services/gateway/traffic_guard.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/limits/address_key.h"
#include "libs/limits/rate_limiter.h"
#include "libs/telemetry/log.h"
#include "services/gateway/api_error.h"

namespace weft::gateway {
namespace {

using limits::Charge;
using limits::Kind;
using limits::Standing;
using Outcome = Standing::Outcome;
using std::chrono::milliseconds;

const telemetry::Logger kLog("gateway.limits");

constexpr std::chrono::seconds kRenewInterval{5};
constexpr milliseconds kGather{5};  // of settlements, while there are some
constexpr size_t kMaxWarned = 10'000;

// The limit of an override, of everybody, or none.
template <typename T>
T Choose(T own, T general) {
  if (own < 0) return 0;
  return own > 0 ? own : general;
}

int64_t CeilSeconds(milliseconds d) { return std::chrono::ceil<std::chrono::seconds>(d).count(); }

absl::Status Refusal(const Charge& charge, const Standing& standing) {
  const bool quota = charge.kind == Kind::kQuota;
  if (charge.kind == Kind::kConcurrent) {
    return WithErrorCode(WithRetryAfter(ResourceExhausted("Too many requests at once ({}: {}).",
                                                          charge.policy, charge.limit),
                                        std::chrono::seconds(1)),
                         "concurrency_limit_exceeded");
  }
  if (standing.outcome == Outcome::kNever && charge.cost > 1) {
    return WithErrorCode(
        ResourceExhausted(
            "The request may use {} {}, more than the limit {} of {} allows at all.", charge.cost,
            charge.policy.find("cost") == std::string::npos ? "tokens" : "micro-units",
            charge.policy, charge.limit),
        quota ? "insufficient_quota" : "request_too_large");
  }
  if (quota) {
    return WithErrorCode(
        WithRetryAfter(
            ResourceExhausted("The quota of this {} is used up ({}).",
                              charge.policy.ends_with("-day") ? "day" : "month", charge.policy),
            standing.retry_after),
        "insufficient_quota");
  }
  // The text of a key's own rate is fixed by requirement 000.
  const std::string which = charge.policy == "key-requests" ? "" : ": " + charge.policy;
  return WithErrorCode(
      WithRetryAfter(ResourceExhausted("Rate limit exceeded{}", which), standing.retry_after),
      "rate_limit_exceeded");
}

}  // namespace

TrafficMetrics::TrafficMetrics(telemetry::Registry& r)
    : refused(r.CounterWith("weft_limit_refusals_total",
                            "Requests refused, by the limit that did it", {"policy"})),
      soft_quota(r.CounterWith("weft_quota_soft_total",
                               "Requests made beyond the soft threshold of a quota", {"policy"})),
      away(r.CounterWith("weft_limits_redis_away_total",
                         "Limits that Redis could not count: local (counted here), refuse, or "
                         "settle (an estimate that stands until Redis is back)",
                         {"mode"})),
      cost(r.CounterWith("weft_inference_cost_total", "What requests cost, in the currency",
                         {"model_id"})),
      request_cost(r.HistogramWith("weft_cost_per_inference",
                                   "What one request cost, in the currency", {"model_id"},
                                   {1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1})),
      usage_rows(r.CounterWith("weft_usage_rows_total",
                               "Rows of usage: stored, store_failed (tries), damaged (lost lines)",
                               {"outcome"})) {}

uint64_t EstimatePromptTokens(const GenerationRequest& request) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < request.prompts(); ++i) {
    const v1::Submit& input = request.input(i);
    uint64_t bytes = input.prompt().size();
    for (const v1::ChatMessage& message : input.chat().messages()) {
      bytes += message.content().size();
      total += 4;
    }
    bytes += input.fill_in().prefix().size() + input.fill_in().suffix().size() +
             input.fill_in().middle().size();
    for (const v1::ExtraFile& file : input.fill_in().extra()) bytes += file.text().size();
    total += (bytes + 3) / 4 + static_cast<uint64_t>(input.tokens().ids_size());
  }
  return total;
}

// What a request has to say when it ends.
class TrafficGuard::LiveAccount final : public Account {
 public:
  LiveAccount(TrafficGuard& guard, std::vector<Charge> charges, usage::UsageRow row)
      : guard_(guard), charges_(std::move(charges)), row_(std::move(row)) {
    if (guard_.spool_ != nullptr) ticket_ = guard_.spool_->Begin(row_);
  }
  ~LiveAccount() override { Finish({.tokens = used_, .outcome = "lost", .model_version = {}}); }

  void Progress(const UsedTokens& so_far) override {
    used_ = so_far;
    if (ticket_) {
      guard_.spool_->Progress(*ticket_, so_far.prompt, so_far.cached_prompt, so_far.completion);
    }
  }

  void Finish(const FinishedUse& use) override {
    if (std::exchange(finished_, true)) return;
    row_.outcome = use.outcome;
    row_.model_version = use.model_version;
    row_.prompt_tokens = use.tokens.prompt;
    row_.cached_prompt_tokens = use.tokens.cached_prompt;
    row_.completion_tokens = use.tokens.completion;
    row_.cached = use.from_cache;
    row_.duration_ms = std::chrono::duration_cast<milliseconds>(use.duration).count();
    row_.created_at_us = UnixNanos(guard_.clock_.Wall()) / 1000;
    // An answer that was there already costs nothing and takes no tokens from anybody's limits.
    if (!use.from_cache) {
      row_.cost_micros = guard_.options_.pricing.CostMicros(
          row_.model, row_.prompt_tokens, row_.cached_prompt_tokens, row_.completion_tokens);
    }
    if (ticket_) guard_.spool_->End(*ticket_, row_);
    if (!guard_.options_.pricing.empty()) {
      const double cost = static_cast<double>(row_.cost_micros) * 1e-6;
      guard_.metrics_.cost.With({row_.model}).Increment(cost);
      guard_.metrics_.request_cost.With({row_.model}).Observe(cost);
    }
    Settlement settlement;
    settlement.lease = row_.id;
    const uint64_t tokens = use.from_cache ? 0 : row_.tokens();
    for (const Charge& charge : charges_) {
      const bool money = charge.policy.find("-cost") != std::string::npos;
      const bool counts_tokens = charge.policy.find("-tokens") != std::string::npos;
      settlement.actual.push_back(money           ? static_cast<uint64_t>(row_.cost_micros)
                                  : counts_tokens ? tokens
                                                  : charge.cost);
    }
    settlement.charges = std::move(charges_);
    guard_.Settle(std::move(settlement));
  }

 private:
  TrafficGuard& guard_;
  std::vector<Charge> charges_;
  usage::UsageRow row_;
  std::optional<usage::Spool::Ticket> ticket_;
  UsedTokens used_;
  bool finished_ = false;
};

TrafficGuard::TrafficGuard(TrafficOptions options, std::unique_ptr<limits::Limiter> limiter,
                           bool shared, usage::Spool* spool, TrafficMetrics& metrics, Clock& clock)
    : options_(std::move(options)),
      limiter_(std::move(limiter)),
      shared_(shared),
      spool_(spool),
      metrics_(metrics),
      clock_(clock) {
  for (const LimitOverride& one : options_.limits.overrides) {
    overrides_.emplace(std::pair(one.scope, one.name), one);
  }
  if (shared_) thread_ = std::thread([this] { Run(); });
}

TrafficGuard::~TrafficGuard() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

const LimitOverride* TrafficGuard::OverrideOf(LimitScope scope, std::string_view name) const {
  if (overrides_.empty()) return nullptr;
  const auto it = overrides_.find(std::pair(scope, std::string(name)));
  return it == overrides_.end() ? nullptr : &it->second;
}

std::vector<Charge> TrafficGuard::ChargesOf(const Party& party, const Needs& needs) const {
  std::vector<Charge> out;
  std::optional<Period> month;
  const auto add = [&](LimitScope scope, std::string_view name, std::string id) {
    ScopeLimits l = options_.limits.scopes[static_cast<size_t>(scope)];
    if (scope == LimitScope::kKey && l.requests_per_minute == 0) {
      l.requests_per_minute = party.principal->requests_per_minute;
    }
    if (const LimitOverride* own = OverrideOf(scope, name)) {
      l.requests_per_second = Choose(own->limits.requests_per_second, l.requests_per_second);
      l.requests_per_minute = Choose(own->limits.requests_per_minute, l.requests_per_minute);
      l.tokens_per_minute = Choose(own->limits.tokens_per_minute, l.tokens_per_minute);
      l.concurrent = Choose(own->limits.concurrent, l.concurrent);
      l.tokens_per_month = Choose(own->limits.tokens_per_month, l.tokens_per_month);
      l.money_per_month = Choose(own->limits.money_per_month, l.money_per_month);
    }
    const auto charge = [&](const char* suffix, const char* policy, int64_t limit) -> Charge& {
      Charge& one = out.emplace_back();
      one.key = id + ":" + suffix;
      one.policy = fmt::format("{}-{}", LimitScopeName(scope), policy);
      one.limit = static_cast<uint64_t>(limit);
      return one;
    };
    if (l.requests_per_second > 0) {
      charge("rps", "requests-second", l.requests_per_second).window = std::chrono::seconds(1);
    }
    if (l.requests_per_minute > 0) charge("rpm", "requests", l.requests_per_minute);
    if (!needs.generation) return;
    if (l.tokens_per_minute > 0) {
      charge("tpm", "tokens", l.tokens_per_minute).cost = needs.tokens;
    }
    if (l.concurrent > 0) charge("now", "concurrent", l.concurrent).kind = Kind::kConcurrent;
    const auto quota = [&](const char* suffix, const char* policy, int64_t limit, uint64_t cost) {
      if (!month) month = MonthOf(clock_.Wall());
      Charge& one = charge(suffix, policy, limit);
      one.key += ":" + month->name;
      one.kind = Kind::kQuota;
      one.window = month->left;
      one.cost = cost;
    };
    if (l.tokens_per_month > 0) quota("tok", "tokens-month", l.tokens_per_month, needs.tokens);
    if (l.money_per_month > 0) {
      quota("cost", "cost-month", std::llround(l.money_per_month * 1e6), needs.cost_micros);
    }
  };
  const identity::Principal& who = *party.principal;
  add(LimitScope::kKey, who.key_id, "k:" + who.key_id);
  if (!needs.user.empty()) {
    // An end user's name is the tenant's own: two tenants' users of one name are two.
    add(LimitScope::kUser, needs.user, fmt::format("u:{}:{}", who.tenant, needs.user));
  }
  add(LimitScope::kTenant, who.tenant, "t:" + who.tenant);
  if (!needs.model.empty()) add(LimitScope::kModel, needs.model, fmt::format("m:{}", needs.model));
  const std::string address = limits::AddressKey(party.address);
  add(LimitScope::kAddress, address, "a:" + address);
  add(LimitScope::kGlobal, "", "g");
  if (needs.generation && options_.quotas != nullptr) {
    options_.quotas->now()->AddCharges({.tenant = who.tenant,
                                        .project = who.project,
                                        .user = needs.user,
                                        .key_id = who.key_id,
                                        .model = needs.model,
                                        .tokens = needs.tokens,
                                        .cost_micros = needs.cost_micros},
                                       clock_.Wall(), out);
  }
  return out;
}

void TrafficGuard::AddHeaders(const std::vector<Charge>& charges, const limits::Verdict& verdict,
                              HeaderList& out) {
  if (charges.empty()) return;
  const Charge& binding = charges[verdict.binding];
  const Standing& standing = verdict.standings[verdict.binding];
  std::string policy = fmt::format("\"{}\";q={}", binding.policy, binding.limit);
  if (binding.kind == Kind::kRate) {
    policy += fmt::format(";w={}",
                          std::chrono::duration_cast<std::chrono::seconds>(binding.window).count());
  }
  out.emplace_back("RateLimit-Policy", std::move(policy));
  out.emplace_back("RateLimit", fmt::format("\"{}\";r={};t={}", binding.policy, standing.remaining,
                                            CeilSeconds(standing.reset)));
  // OpenAI's names, for the key's own limits.
  for (size_t i = 0; i < charges.size(); ++i) {
    const char* kind = charges[i].policy == "key-requests" ? "requests"
                       : charges[i].policy == "key-tokens" ? "tokens"
                                                           : nullptr;
    if (kind == nullptr) continue;
    out.emplace_back(fmt::format("x-ratelimit-limit-{}", kind), std::to_string(charges[i].limit));
    out.emplace_back(fmt::format("x-ratelimit-remaining-{}", kind),
                     std::to_string(verdict.standings[i].remaining));
  }
  std::string beyond;
  for (size_t i = 0; i < charges.size(); ++i) {
    const Charge& charge = charges[i];
    if (charge.kind != Kind::kQuota || charge.limit == 0) continue;
    const uint64_t used = charge.limit - std::min(charge.limit, verdict.standings[i].remaining);
    const double limit = static_cast<double>(charge.limit);
    const double warn_at = charge.warn_at > 0 ? static_cast<double>(charge.warn_at)
                                              : limit * options_.limits.soft_quota;
    if (static_cast<double>(used) < warn_at) continue;
    const double part =
        static_cast<double>(used) / (charge.limit == kNoHardLimit ? warn_at : limit);
    if (!beyond.empty()) beyond += ", ";
    beyond += fmt::format("\"{}\";used={}%", charge.policy, std::lround(part * 100));
    metrics_.soft_quota.With({charge.policy}).Increment();
    std::lock_guard lock(mutex_);
    if (warned_.size() < kMaxWarned && warned_.insert(charge.key).second) {
      kLog.Warning("a quota is beyond its soft threshold",
                   {{"quota", charge.key}, {"used", used}, {"limit", charge.limit}});
    }
  }
  if (!beyond.empty()) out.emplace_back("X-Weft-Quota", std::move(beyond));
}

TrafficGuard::Pass TrafficGuard::Take(const std::vector<Charge>& charges, std::string_view lease) {
  Pass out;
  const auto verdict = limiter_->Take(charges, lease);
  if (!verdict.ok()) {
    kLog.Warning("limits could not be checked", {{"exception", verdict.status()}});
    out.status = WithErrorCode(
        WithRetryAfter(Unavailable("The server cannot check its limits at the moment. Please try "
                                   "again."),
                       std::chrono::seconds(1)),
        "limits_unavailable");
    return out;
  }
  AddHeaders(charges, *verdict, out.headers);
  if (verdict->allowed) return out;
  const Charge& binding = charges[verdict->binding];
  metrics_.refused.With({binding.policy}).Increment();
  out.status = Refusal(binding, verdict->standings[verdict->binding]);
  return out;
}

TrafficGuard::Pass TrafficGuard::CheckCall(const Party& party) {
  return Take(ChargesOf(party, {}), "");
}

TrafficGuard::Admitted TrafficGuard::Admit(const Party& party, GenerationRequest& request,
                                           const std::string& request_id,
                                           std::string_view endpoint) {
  const identity::Principal& who = *party.principal;
  v1::Submit& submit = request.submit;
  if (const LimitOverride* own = OverrideOf(LimitScope::kTenant, who.tenant)) {
    if (own->weight > 0) submit.set_weight(static_cast<float>(own->weight));
    int32_t priority = 0;
    if (!request.priority_given && identity::ParsePriority(own->priority, priority)) {
      // The key's own bound stays.
      submit.set_priority(std::min(priority, who.max_priority.value_or(priority)));
    }
  }
  const uint64_t prompt = EstimatePromptTokens(request);
  const uint64_t each = request.max_tokens_given || submit.sampling().max_tokens() <=
                                                        options_.limits.estimate_output_tokens
                            ? submit.sampling().max_tokens()
                            : options_.limits.estimate_output_tokens;
  const uint64_t output = each * request.sequences();
  Needs needs;
  needs.generation = true;
  needs.tokens = std::max<uint64_t>(prompt + output, 1);
  needs.cost_micros =
      static_cast<uint64_t>(options_.pricing.CostMicros(submit.model(), prompt, 0, output));
  needs.model = submit.model();
  // Who signed in is a user; of an API key its owner says who uses it.
  const bool by_key =
      who.method == identity::AuthMethod::kApiKey || who.method == identity::AuthMethod::kSignature;
  const std::string& user = request.user.empty() && !by_key ? who.subject : request.user;
  needs.user = user;
  std::vector<Charge> charges = ChargesOf(party, needs);
  Admitted out;
  static_cast<Pass&>(out) = Take(charges, request_id);
  if (!out.status.ok()) return out;
  usage::UsageRow row;
  row.id = request_id;
  row.tenant = who.tenant;
  row.project = who.project;
  row.user = user;
  row.key_id = who.key_id;
  row.model = submit.model();
  row.endpoint = endpoint;
  row.created_at_us = UnixNanos(clock_.Wall()) / 1000;
  out.account = std::make_shared<LiveAccount>(*this, std::move(charges), std::move(row));
  return out;
}

void TrafficGuard::Settle(Settlement settlement) {
  if (!shared_) {
    limiter_->Settle(settlement.charges, settlement.actual, settlement.lease).IgnoreError();
    return;
  }
  {
    std::lock_guard lock(mutex_);
    settlements_.push_back(std::move(settlement));
    // While others come it looks by itself: waking it costs the request more than this.
    if (!std::exchange(asleep_, false)) return;
  }
  changed_.notify_all();
}

void TrafficGuard::Run() {
  auto renew = std::chrono::steady_clock::now() + kRenewInterval;
  std::unique_lock lock(mutex_);
  while (!stop_ || !settlements_.empty()) {
    if (settlements_.empty()) {
      asleep_ = true;
      changed_.wait_until(lock, renew, [this] { return stop_ || !settlements_.empty(); });
      asleep_ = false;
    }
    std::deque<Settlement> work = std::exchange(settlements_, {});
    lock.unlock();
    for (const Settlement& one : work) {
      limiter_->Settle(one.charges, one.actual, one.lease).IgnoreError();
    }
    if (std::chrono::steady_clock::now() >= renew) {
      renew = std::chrono::steady_clock::now() + kRenewInterval;
      limiter_->Renew().IgnoreError();  // again at the next; meanwhile takes say what is wrong
    }
    lock.lock();
    if (!work.empty()) changed_.wait_for(lock, kGather, [this] { return stop_; });
  }
}

}  // namespace weft::gateway
