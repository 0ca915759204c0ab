#include "libs/rollout/measure.h"

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/fetch/http_call.h"
#include "libs/json/strict_json.h"

namespace weft::rollout {

using nlohmann::json;

Queries QueriesFor(bool worker, std::string_view name_space, std::string_view pods,
                   int64_t window_s) {
  const std::string which = fmt::format(R"(namespace="{}",pod=~"{}")", name_space, pods);
  const std::string window = fmt::format("[{}s]", window_s);
  const std::string counter = worker ? "weft_request_success_total" : "http_requests_total";
  const std::string failed = worker ? R"(finished_reason="error")" : R"(status=~"5..")";
  const std::string tokens = worker ? "weft_generation_tokens_total{" + which + "}"
                                    : R"(weft_tokens_total{kind="completion",)" + which + "}";
  const std::string all = fmt::format("sum(increase({}{{{}}}{}))", counter, which, window);
  Queries out;
  out.requests = all;
  out.error_ratio = fmt::format("((sum(increase({}{{{},{}}}{})) or vector(0)) / ({} > 0))", counter,
                                which, failed, window, all);
  out.ttft_seconds = fmt::format(
      "histogram_quantile(0.95, sum by (le) "
      "(rate(weft_time_to_first_token_seconds_bucket{{{}}}{})))",
      which, window);
  out.tokens_per_second = fmt::format("avg(sum by (pod) (rate({}{})))", tokens, window);
  return out;
}

absl::StatusOr<std::optional<double>> ParseAnswer(std::string_view text) {
  WEFT_ASSIGN_OR_RETURN(const json answer, ParseStrictJson(text));
  try {
    if (answer.at("status") != "success") {
      return FailedPrecondition("Prometheus refuses the query: {}",
                                answer.value("error", "no reason given"));
    }
    const json& result = answer.at("data").at("result");
    if (answer.at("data").at("resultType") != "vector" || !result.is_array()) {
      return InvalidArgument("Prometheus' answer is no vector");
    }
    if (result.empty()) return std::nullopt;
    const auto number = result.at(0).at("value").at(1).get<std::string>();
    char* end = nullptr;
    const double value = std::strtod(number.c_str(), &end);
    if (end == number.c_str() || *end != '\0') {
      return InvalidArgument("Prometheus' answer holds '{}', no number", number.substr(0, 40));
    }
    return std::isfinite(value) ? std::optional(value) : std::nullopt;
  } catch (const json::exception& error) {
    return InvalidArgument("Prometheus' answer: {}", error.what());
  }
}

absl::StatusOr<Metrics> Ask(const std::string& address, const Queries& queries,
                            const std::atomic<bool>* cancel) {
  const auto one = [&](const std::string& query) -> absl::StatusOr<std::optional<double>> {
    fetch::HttpCallOptions options;
    options.total = std::chrono::seconds(10);
    options.cancel = cancel;
    std::string base = address;
    while (base.ends_with('/')) base.pop_back();
    const fetch::HttpCall call{.url = base + "/api/v1/query?query=" + fetch::PercentEncoded(query)};
    WEFT_ASSIGN_OR_RETURN(const fetch::HttpReply reply, fetch::CallHttp(call, options));
    if (reply.status >= 500 || reply.status == 429) {
      return Unavailable("{}: Prometheus answers {}", address, reply.status);
    }
    return ParseAnswer(reply.body);
  };
  Metrics out;
  WEFT_ASSIGN_OR_RETURN(const std::optional<double> requests, one(queries.requests));
  out.requests = requests.value_or(0);
  WEFT_ASSIGN_OR_RETURN(out.error_ratio, one(queries.error_ratio));
  WEFT_ASSIGN_OR_RETURN(out.ttft_seconds, one(queries.ttft_seconds));
  WEFT_ASSIGN_OR_RETURN(out.tokens_per_second, one(queries.tokens_per_second));
  return out;
}

}  // namespace weft::rollout
