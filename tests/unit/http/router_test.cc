#include "libs/http/router.h"

#include "tests/support/catch.h"

using weft::http::ExchangePtr;
using weft::http::Router;

namespace {
Router Sample() {
  Router router;
  const auto nothing = [](const ExchangePtr&) {};
  REQUIRE(router.Add("GET", "/v1/models", nothing).ok());
  REQUIRE(router.Add("GET", "/v1/models/{id}", nothing).ok());
  REQUIRE(router.Add("GET", "/v1/models/default", nothing).ok());
  REQUIRE(router.Add("DELETE", "/v1/models/{id}", nothing).ok());
  REQUIRE(router.Add("GET", "/", nothing).ok());
  return router;
}
}  // namespace

TEST_CASE("Router decodes a path parameter and lets a literal win over it", "[http]") {
  const Router router = Sample();
  auto match = router.Find("GET", "/v1/models/org%2Fname");
  REQUIRE(match.route != nullptr);
  CHECK(match.route->pattern == "/v1/models/{id}");
  REQUIRE(match.params.size() == 1);
  CHECK(match.params[0].first == "id");
  CHECK(match.params[0].second == "org/name");
  CHECK(router.Find("GET", "/v1/models/default").route->pattern == "/v1/models/default");
  CHECK(router.Find("HEAD", "/v1/models").route->pattern == "/v1/models");
  CHECK(router.Find("GET", "/").route->pattern == "/");
}

TEST_CASE("Router tells an unknown path from a method that is not allowed", "[http]") {
  const Router router = Sample();
  CHECK(router.Find("GET", "/v1/nothing").allow.empty());
  CHECK(router.Find("GET", "/v1/models/").route == nullptr);
  CHECK(router.Find("GET", "/v1/models/a/b").route == nullptr);
  CHECK(router.Find("GET", "").route == nullptr);
  CHECK(router.Find("GET", "v1").route == nullptr);
  const auto match = router.Find("POST", "/v1/models/x");
  CHECK(match.route == nullptr);
  CHECK(match.allow == "GET, DELETE");
  CHECK(router.Find("GET", "/v1/models/%zz").route == nullptr);
}

TEST_CASE("Router refuses a second handler of one route and patterns without meaning", "[http]") {
  Router router = Sample();
  CHECK(router.Add("GET", "/v1/models", nullptr).code() == absl::StatusCode::kAlreadyExists);
  CHECK(router.Add("GET", "v1", nullptr).code() == absl::StatusCode::kInvalidArgument);
  CHECK(router.Add("GET", "/a//b", nullptr).code() == absl::StatusCode::kInvalidArgument);
  CHECK(router.Add("GET", "/a/{}", nullptr).code() == absl::StatusCode::kInvalidArgument);
}
