#include "services/gateway/endpoint.h"

#include <nlohmann/json.hpp>

#include "services/gateway/api.h"
#include "services/gateway/grpc_guards.h"
#include "tests/support/catch.h"

using nlohmann::json;
using weft::gateway::Endpoint;
using weft::gateway::EndpointTable;

namespace {

static_assert(!std::is_default_constructible_v<Endpoint>, "a route names its guard");
static_assert(!std::is_default_constructible_v<weft::gateway::GrpcGuard>);

Endpoint Sample() {
  return {"GET",
          "/x/{id}",
          weft::identity::Permission::kModelsRead,
          true,
          {.operation_id = "x", .summary = "X", .tag = "T", .response = "Model"},
          [](const weft::gateway::Call&) {}};
}
}  // namespace

TEST_CASE("A route without documentation, or with a schema that is not there, cannot be added",
          "[gateway]") {
  EndpointTable table;
  Endpoint no_summary = Sample();
  no_summary.doc.summary.clear();
  CHECK_FALSE(table.Add(no_summary).ok());
  Endpoint bad_schema = Sample();
  bad_schema.doc.request = "Nothing";
  CHECK_FALSE(table.Add(bad_schema).ok());
  CHECK(table.Add(Sample()).ok());
  Endpoint same_id = Sample();
  same_id.pattern = "/y";
  CHECK(table.Add(same_id).code() == absl::StatusCode::kAlreadyExists);
  Endpoint same_route = Sample();
  same_route.doc.operation_id = "y";
  CHECK(table.Add(same_route).code() == absl::StatusCode::kAlreadyExists);
  CHECK(table.endpoints().size() == 1);
}

TEST_CASE("The OpenAPI document describes exactly the routes and resolves all its references",
          "[gateway]") {
  auto table = weft::gateway::MakeApi(std::make_shared<weft::gateway::ApiDeps>());
  REQUIRE(table.ok());
  const json document = json::parse(weft::gateway::OpenApiDocument(**table, "1.2.3"));
  CHECK(document["openapi"] == "3.1.0");
  CHECK(document["info"]["version"] == "1.2.3");
  size_t operations = 0;
  for (const auto& [path, methods] : document["paths"].items()) {
    for (const auto& [method, operation] : methods.items()) {
      ++operations;
      CHECK(operation.contains("x-weft-permission"));
      CHECK(operation["security"].empty() == (operation["x-weft-permission"] == "public"));
      // Signing in is public, and may be refused.
      const bool signs_in = operation["tags"][0] == "Identity";
      CHECK(operation["responses"].contains("401") ==
            (operation["x-weft-permission"] != "public" || signs_in));
    }
  }
  CHECK(operations == (*table)->endpoints().size());
  const std::string text = document.dump();
  const std::string mark = "#/components/schemas/";
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
    const size_t begin = at + mark.size();
    CHECK(weft::gateway::HasSchema(text.substr(begin, text.find('"', begin) - begin)));
  }
}
