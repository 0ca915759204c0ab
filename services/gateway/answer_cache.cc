#include "services/gateway/answer_cache.h"

#include <google/protobuf/arena.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/http/message.h"
#include "services/gateway/api_error.h"

namespace weft::gateway {
namespace {

bool AddJson(const v1::Submit& submit, nlohmann::json& out) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(submit, &text, options).ok()) return false;
  out = nlohmann::json::parse(text, nullptr, false);
  return out.is_object();
}

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

CacheDirectives ParseCacheDirectives(std::string_view cache_control, std::string_view opt_in) {
  CacheDirectives out;
  out.opted_in = http::EqualsIgnoreCase(Trimmed(opt_in), "on");
  while (!cache_control.empty()) {
    const size_t comma = cache_control.find(',');
    const std::string_view one = Trimmed(cache_control.substr(0, comma));
    cache_control =
        comma == std::string_view::npos ? std::string_view() : cache_control.substr(comma + 1);
    const size_t equals = one.find('=');
    const std::string_view name = Trimmed(one.substr(0, equals));
    if (http::EqualsIgnoreCase(name, "no-store")) out.no_store = true;
    if (http::EqualsIgnoreCase(name, "no-cache")) out.no_cache = true;
    if (http::EqualsIgnoreCase(name, "only-if-cached")) out.only_if_cached = true;
    if (http::EqualsIgnoreCase(name, "max-age") && equals != std::string_view::npos) {
      const std::string_view value = Trimmed(one.substr(equals + 1));
      int64_t seconds = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
      // What is no number is taken as stale, which asks for the least (section 4.2.1).
      const bool good = error == std::errc() && end == value.data() + value.size() && seconds >= 0;
      out.max_age = std::chrono::seconds(good ? std::min<int64_t>(seconds, 1'000'000'000) : 0);
    }
  }
  return out;
}

bool IsDeterministic(const GenerationRequest& request) {
  const v1::SamplingParams& s = request.submit.sampling();
  return s.temperature() == 0 || s.has_seed();
}

std::string CanonicalRequest(const GenerationRequest& request, std::string_view policy) {
  v1::Submit submit = request.submit;
  // Whose it is, when it runs and with what share does not change the text.
  submit.clear_handle();
  submit.clear_request_id();
  submit.clear_traceparent();
  submit.clear_share_key();
  submit.clear_weight();
  submit.clear_priority();
  submit.clear_timeout();
  submit.clear_kv_salt();
  submit.clear_choice();
  nlohmann::json out;
  if (!AddJson(submit, out["submit"])) return {};
  for (const v1::Submit& input : request.inputs) {
    if (!AddJson(input, out["inputs"].emplace_back())) return {};
  }
  out["best_of"] = request.best_of;
  out["choices"] = request.choices;
  out["code"] = request.kind == ApiKind::kGenerate || request.kind == ApiKind::kInfill;
  out["language"] = request.language;
  out["truncated"] = request.prompt_truncated;
  out["policy"] = policy;
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

AnswerCache::AnswerCache(Options options, telemetry::Registry& registry)
    : options_(std::move(options)),
      registry_(registry),
      requests_(registry.CounterWith(
          "weft_cache_requests_total",
          "Generations by what the response cache did: hit, miss, coalesced (shared another's "
          "answer while it was made), bypass (not asked for, or not repeatable)",
          {"result"})) {}

absl::StatusOr<std::unique_ptr<AnswerCache>> AnswerCache::Create(Options options,
                                                                 redis::Client* redis,
                                                                 telemetry::Registry& registry) {
  const CacheConfig& config = options.config;
  if (config.backend == CacheConfig::Backend::kRedis && redis == nullptr && config.enabled) {
    return InvalidArgument("gateway.cache.backend: redis needs gateway.redis.url");
  }
  std::unique_ptr<AnswerCache> out(new AnswerCache(options, registry));
  if (!config.enabled) return out;
  cache::CacheOptions store;
  store.max_bytes = config.max_bytes;
  store.max_value_bytes = config.max_answer_bytes;
  store.ttl = config.ttl;
  store.secret = options.secret;
  WEFT_ASSIGN_OR_RETURN(
      out->store_,
      cache::ResponseCache::Create(
          std::move(store), config.backend == CacheConfig::Backend::kLocal ? nullptr : redis));
  const auto watch = [&](const char* name, const char* help, auto value) {
    out->watches_.push_back(registry.WatchGauge(
        name, help, {}, [cache = out.get(), value] { return static_cast<double>(value(*cache)); }));
  };
  watch("weft_cache_bytes", "Of answers in this process",
        [](AnswerCache& c) { return c.store_->stats().bytes; });
  watch("weft_cache_entries", "Answers in this process",
        [](AnswerCache& c) { return c.store_->stats().entries; });
  watch("weft_cache_evictions", "Answers that made room for others since the start",
        [](AnswerCache& c) { return c.store_->stats().evictions; });
  watch("weft_cache_hit_ratio", "Hits of all requests that looked, since the start",
        [](AnswerCache& c) {
          const Counts n = c.counts();
          const uint64_t all = n.hits + n.misses + n.coalesced;
          return all == 0 ? 0.0
                          : static_cast<double>(n.hits + n.coalesced) / static_cast<double>(all);
        });
  return out;
}

AnswerCache::~AnswerCache() {
  for (const int watch : watches_) registry_.Unwatch(watch);
}

AnswerCache::Counts AnswerCache::counts() const {
  const auto count = [this](const char* result) {
    return static_cast<uint64_t>(requests_.With({result}).Value());
  };
  return {.hits = count("hit"), .misses = count("miss"), .coalesced = count("coalesced")};
}

std::string AnswerCache::VersionOf(const GenerationDeps& deps, const std::string& model) const {
  for (const v1::ModelInfo& one : deps.scheduler->Models()) {
    if (one.id() == model) return one.version();
  }
  return {};
}

AnswerCache::Started AnswerCache::Alone(Start& start, std::string_view state) {
  requests_.With({state}).Increment();
  auto sink = start.make_sink(start.request, state, -1);
  Started out;
  out.generation =
      Generation::Create(*start.deps, std::move(start.request), start.request_id, start.principal,
                         start.parent, std::move(sink), std::move(start.account));
  out.cancel = [weak = std::weak_ptr(out.generation)](std::string_view reason) {
    if (auto generation = weak.lock()) generation->Cancel(reason);
  };
  return out;
}

bool AnswerCache::Hit(Start& start, const std::string& key, const std::string& version) {
  const auto hit = store_->Find(key);
  if (!hit || (start.directives.max_age && hit->age > *start.directives.max_age)) return false;
  // Hundreds of small pieces: freed together.
  google::protobuf::Arena arena;
  v1::CachedAnswer& answer = *google::protobuf::Arena::CreateMessage<v1::CachedAnswer>(&arena);
  if (!answer.ParseFromString(*hit->value) || answer.model_version() != version) return false;
  requests_.With({"hit"}).Increment();
  const SteadyTime begin = start.deps->clock->Now();
  const auto sink = start.make_sink(
      start.request, "hit", std::chrono::duration_cast<std::chrono::seconds>(hit->age).count());
  Totals totals;
  totals.model_version = answer.model_version();
  totals.usage = answer.usage();
  totals.usage.set_cached_prompt_tokens(answer.usage().prompt_tokens());
  sink->OnBegin(totals);
  Replay(answer, 0, *sink);
  totals.duration = start.deps->clock->Now() - begin;
  if (start.account) {
    start.account->Finish({.tokens = TokensOf(answer),
                           .outcome = "cached",
                           .model_version = answer.model_version(),
                           .duration = totals.duration,
                           .from_cache = true});
  }
  sink->OnDone(totals);
  return true;
}

std::pair<std::shared_ptr<Flight>, bool> AnswerCache::FlightOf(const std::string& key,
                                                               const std::string& version,
                                                               bool fresh) {
  const uint64_t epoch = store_->Epoch();
  std::lock_guard lock(mutex_);
  if (const auto it = flights_.find(key); it != flights_.end() && !fresh) {
    return {it->second.flight, false};
  }
  const uint64_t number = next_flight_++;
  auto flight =
      std::make_shared<Flight>(options_.config.max_answer_bytes,
                               [this, key, epoch, version, number](const v1::CachedAnswer* answer) {
                                 // Stored before the flight is taken away: who comes then finds one
                                 // or the other.
                                 if (answer != nullptr && answer->model_version() == version) {
                                   store_->Store(key, answer->SerializeAsString(), epoch);
                                 }
                                 std::lock_guard landing(mutex_);
                                 const auto it = flights_.find(key);
                                 if (it != flights_.end() && it->second.number == number)
                                   flights_.erase(it);
                               });
  flights_.insert_or_assign(key, Entry{number, flight});
  return {flight, true};
}

AnswerCache::Started AnswerCache::Shared(Start& start, const std::string& key,
                                         const std::string& version) {
  const auto [flight, first] = FlightOf(key, version, start.directives.no_cache);
  Seat seat{.sink = start.make_sink(start.request, first ? "miss" : "coalesced", -1),
            .account = first ? nullptr : start.account,
            .abandoned = start.abandoned};
  const auto number = flight->Join(seat);
  if (!number) return Alone(start, "miss");  // it ended a moment ago, with nothing to repeat
  requests_.With({first ? "miss" : "coalesced"}).Increment();
  Started out;
  out.shared = true;
  out.cancel = [weak = std::weak_ptr(flight), seat = *number](std::string_view reason) {
    if (auto alive = weak.lock()) alive->Leave(seat, reason);
  };
  if (!first) return out;
  out.generation =
      Generation::Create(*start.deps, std::move(start.request), start.request_id, start.principal,
                         start.parent, flight->Sink(), std::move(start.account));
  flight->SetGeneration(out.generation);
  return out;
}

AnswerCache::Started AnswerCache::Begin(Start start) {
  const CacheDirectives& asked = start.directives;
  std::string version, canonical;
  if (store_ && start.principal && !asked.no_store &&
      (IsDeterministic(start.request) || asked.opted_in)) {
    version = VersionOf(*start.deps, start.request.submit.model());
    if (!version.empty()) canonical = CanonicalRequest(start.request, options_.policy);
  }
  std::string key;
  if (!canonical.empty()) {
    key = cache::CacheKey({.tenant = start.principal->tenant,
                           .model = start.request.submit.model(),
                           .version = version,
                           .request = canonical});
    if (!asked.no_cache && Hit(start, key, version)) return {};
  }
  if (asked.only_if_cached) {
    if (start.account) {
      start.account->Finish(
          {.tokens = {}, .outcome = "not_cached", .model_version = {}, .from_cache = true});
    }
    Started out;
    out.status = NotFound("not cached");
    return out;
  }
  return key.empty() ? Alone(start, "bypass") : Shared(start, key, version);
}

void AnswerCache::Tick() {
  std::vector<std::shared_ptr<Flight>> flights;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [key, entry] : flights_) flights.push_back(entry.flight);
  }
  for (const auto& flight : flights) flight->Tick();
}

}  // namespace weft::gateway
