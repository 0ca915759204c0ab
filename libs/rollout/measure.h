// What Prometheus knows of a version's pods.
#pragma once

#include <absl/status/statusor.h>

#include <atomic>
#include <optional>
#include <string>
#include <string_view>

#include "libs/rollout/plan.h"

namespace weft::rollout {

// PromQL of one number each.
struct Queries {
  std::string requests, error_ratio, ttft_seconds, tokens_per_second;
};

// Of the pods whose names match `pods` (RE2, the whole name), over the last `window_s`. Workers are
// measured by their sequences, everything else by its HTTP requests.
Queries QueriesFor(bool worker, std::string_view name_space, std::string_view pods,
                   int64_t window_s);

// The answer to an instant query (Prometheus' HTTP API, v1). nullopt: no series, or not a number.
// INVALID_ARGUMENT for what is no such answer, FAILED_PRECONDITION with Prometheus' own words when
// it refuses the query.
absl::StatusOr<std::optional<double>> ParseAnswer(std::string_view text);

// Blocks for 10 s at most per query. `address` is http(s)://HOST[:PORT][/PREFIX].
absl::StatusOr<Metrics> Ask(const std::string& address, const Queries& queries,
                            const std::atomic<bool>* cancel);

}  // namespace weft::rollout
