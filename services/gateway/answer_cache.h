// Gives answers that were given before, and lets requests that ask the same share one generation.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libs/cache/response_cache.h"
#include "libs/telemetry/metrics.h"
#include "services/gateway/cache_config.h"
#include "services/gateway/flight.h"

namespace weft::gateway {

// What a request says about caches (RFC 9111, section 5.2.1): no-store, no-cache, only-if-cached,
// max-age; others mean nothing here.
struct CacheDirectives {
  bool no_store = false;
  bool no_cache = false;
  bool only_if_cached = false;
  std::optional<std::chrono::seconds> max_age;
  bool opted_in = false;  // X-Weft-Cache: on, for answers that chance decides
};
CacheDirectives ParseCacheDirectives(std::string_view cache_control, std::string_view opt_in);

// Temperature 0, or a seed: the same request has the same answer.
bool IsDeterministic(const GenerationRequest& request);
// Everything that decides about the answer, as JSON with sorted keys; `policy` names the rules that
// judge it. Empty: it cannot be told.
std::string CanonicalRequest(const GenerationRequest& request, std::string_view policy);

// Thread safe.
class AnswerCache {
 public:
  struct Options {
    CacheConfig config;
    std::string policy;  // of the scanner, as text: an answer is one under this policy
    std::string secret;  // of all gateways alike
  };
  // `redis` may be nullptr, else it outlives the cache.
  static absl::StatusOr<std::unique_ptr<AnswerCache>> Create(Options options, redis::Client* redis,
                                                             telemetry::Registry& registry);
  ~AnswerCache();

  // Starts a request, by a stored answer, with another one, or as a generation of its own.
  struct Start {
    const GenerationDeps* deps = nullptr;
    GenerationRequest request;
    std::string request_id;
    identity::PrincipalPtr principal;
    telemetry::SpanContext parent;
    std::shared_ptr<Account> account;
    std::shared_ptr<std::atomic<bool>> abandoned;
    CacheDirectives directives;
    // The sink is made when it is known what happens. `state` goes into X-Weft-Cache: hit, miss,
    // coalesced, bypass; `age` of a hit in seconds, else negative.
    std::function<std::unique_ptr<GenerationSink>(const GenerationRequest& request,
                                                  std::string_view state, int64_t age)>
        make_sink;
  };
  struct Started {
    absl::Status status;                     // NOT_FOUND: only-if-cached, and it is not
    std::shared_ptr<Generation> generation;  // a new one, not yet started
    bool shared = false;  // others may ride along: the request alone does not cancel it
    // The client is gone. Empty: the answer is complete.
    std::function<void(std::string_view reason)> cancel;
  };
  Started Begin(Start start);

  cache::ResponseCache* store() { return store_.get(); }  // nullptr: disabled
  struct Counts {
    uint64_t hits = 0, misses = 0, coalesced = 0;
  };
  Counts counts() const;
  void Tick();  // several times a second

 private:
  AnswerCache(Options options, telemetry::Registry& registry);
  Started Alone(Start& start, std::string_view state);
  Started Shared(Start& start, const std::string& key, const std::string& version);
  bool Hit(Start& start, const std::string& key, const std::string& version);
  // The flight of this key and whether it is a new one.
  std::pair<std::shared_ptr<Flight>, bool> FlightOf(const std::string& key,
                                                    const std::string& version, bool fresh);
  std::string VersionOf(const GenerationDeps& deps, const std::string& model) const;

  const Options options_;
  telemetry::Registry& registry_;
  telemetry::CounterFamily requests_;  // result
  std::vector<int> watches_;
  std::unique_ptr<cache::ResponseCache> store_;
  mutable std::mutex mutex_;
  struct Entry {
    uint64_t number;
    std::shared_ptr<Flight> flight;
  };
  std::unordered_map<std::string, Entry> flights_;  // by key
  uint64_t next_flight_ = 1;
};

}  // namespace weft::gateway
