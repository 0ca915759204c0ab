#include "libs/rollout/measure.h"

#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft::rollout {
namespace {

TEST_CASE("Prometheus' answers are read, and what is none is said", "[rollout]") {
  const auto vector = [](const std::string& result) {
    return R"({"status":"success","data":{"resultType":"vector","result":[)" + result + "]}}";
  };
  CHECK(**ParseAnswer(vector(R"({"metric":{},"value":[1.5,"0.25"]})")) == 0.25);
  CHECK(!ParseAnswer(vector(""))->has_value());
  CHECK(!ParseAnswer(vector(R"({"metric":{},"value":[1,"NaN"]})"))->has_value());
  CHECK(!ParseAnswer(vector(R"({"metric":{},"value":[1,"+Inf"]})"))->has_value());
  CHECK(!ParseAnswer(vector(R"({"metric":{},"value":[1,"many"]})")).ok());
  CHECK(!ParseAnswer(vector(R"({"metric":{},"value":[1,2]})")).ok());
  CHECK(
      !ParseAnswer(R"({"status":"success","data":{"resultType":"scalar","result":[1,"2"]}})").ok());
  CHECK(!ParseAnswer("<html>").ok());
  const auto refused =
      ParseAnswer(R"({"status":"error","errorType":"bad_data","error":"parse error at 5"})");
  CHECK_THAT(std::string(Message(refused.status())), ContainsSubstring("parse error at 5"));
}

TEST_CASE("Workers are measured by sequences, gateways by requests", "[rollout]") {
  const Queries gateway = QueriesFor(false, "weft", "g-[a-z]+", 60);
  CHECK_THAT(gateway.error_ratio,
             ContainsSubstring(
                 R"(http_requests_total{namespace="weft",pod=~"g-[a-z]+",status=~"5.."}[60s])"));
  CHECK_THAT(gateway.tokens_per_second, ContainsSubstring("weft_tokens_total"));
  const Queries worker = QueriesFor(true, "weft", "w", 60);
  CHECK_THAT(worker.requests, ContainsSubstring("weft_request_success_total"));
  CHECK_THAT(worker.tokens_per_second, ContainsSubstring("weft_generation_tokens_total"));
}

}  // namespace
}  // namespace weft::rollout
