#include <nlohmann/json.hpp>

#include "services/gateway/data_routes.h"
#include "services/gateway/endpoint.h"
#include "services/gateway/openapi_schemas.h"
#include "services/gateway/resource_schemas.h"

namespace weft::gateway {
namespace {

using nlohmann::ordered_json;

const ordered_json& Schemas() {
  static const ordered_json schemas = [] {
    ordered_json all = ordered_json::parse(OpenApiSchemas());
    AddResourceSchemas(all);
    AddDataSchemas(all);
    return all;
  }();
  return schemas;
}

ordered_json Ref(std::string_view schema) {
  return {{"$ref", "#/components/schemas/" + std::string(schema)}};
}

ordered_json JsonContent(std::string_view schema) {
  ordered_json media = {{"schema", Ref(schema)}};
  const ordered_json& known = Schemas().at(std::string(schema));
  if (known.contains("examples")) {
    media["examples"]["example"]["value"] = known["examples"].front();
  }
  return {{"application/json", std::move(media)}};
}

ordered_json ErrorAnswer(std::string_view description) {
  return {{"description", description}, {"content", JsonContent("Error")}};
}

ordered_json AnswerHeaders(const Endpoint& endpoint, const std::string& status) {
  ordered_json out;
  const auto add = [&](std::string_view name) {
    out[std::string(name)] = {{"$ref", "#/components/headers/" + std::string(name)}};
  };
  add("X-Request-Id");
  if (endpoint.rate_limited && (status == "429" || status[0] == '2')) {
    add("RateLimit");
    add("RateLimit-Policy");
  }
  if (status == "429" || (status == "503" && !endpoint.guard.is_public())) add("Retry-After");
  return out;
}

// What every answer may carry, said once.
ordered_json HeaderComponents() {
  const auto header = [](std::string_view description, std::string_view example) {
    return ordered_json{
        {"description", description}, {"schema", {{"type", "string"}}}, {"example", example}};
  };
  return {
      {"X-Request-Id", header("names this request in the logs and traces", "req_0123456789abcdef")},
      {"RateLimit",
       header("what is left of the limit, and when more comes", R"("default";r=59;t=1)")},
      {"RateLimit-Policy", header("the limit", R"("default";q=60;w=60)")},
      {"Retry-After", header("seconds until it is worth to try again", "1")}};
}

bool IsWrite(const Endpoint& endpoint) {
  return endpoint.method != "GET" && !endpoint.guard.is_public();
}

ordered_json Responses(const Endpoint& endpoint) {
  const EndpointDoc& doc = endpoint.doc;
  ordered_json out;
  ordered_json good;
  good["description"] = "Success";
  if (doc.response.find('/') != std::string::npos) {
    good["content"][doc.response] = ordered_json::object();
  } else {
    good["content"] = JsonContent(doc.response);
  }
  if (doc.streams) {
    good["content"]["text/event-stream"]["schema"] = {
        {"type", "object"},
        {"required", {"data"}},
        {"properties", {{"data", {{"type", "string"}}}}},
        {"description",
         "one event; with stream: true, chunks as `data:` events, then `data: [DONE]`"}};
  }
  out[std::to_string(doc.status)] = std::move(good);
  if (!doc.request.empty() || !doc.query.empty()) {
    out["400"] = ErrorAnswer("The request is wrong; `param` names the member");
    out["408"] = ErrorAnswer("The request did not arrive in time");
    out["413"] = ErrorAnswer("The request is too large");
  }
  if (!endpoint.guard.is_public()) {
    out["401"] = ErrorAnswer("No API key, or not a good one");
    out["403"] = ErrorAnswer("The caller lacks the permission `x-weft-permission`");
  }
  if (endpoint.method == "POST" && doc.status == 201) {
    out["409"] = ErrorAnswer("There is such a thing already");
  }
  if (endpoint.pattern.find('{') != std::string::npos || !doc.request.empty()) {
    out["404"] = ErrorAnswer("There is no such thing");
  }
  if (IsWrite(endpoint)) {
    if (doc.request.empty()) out["400"] = ErrorAnswer("The Idempotency-Key is none");
    out["409"] = ErrorAnswer("The first request with this Idempotency-Key still works");
    out["422"] = ErrorAnswer("The Idempotency-Key was used for another request");
  }
  if (!endpoint.guard.is_public())
    out["429"] = ErrorAnswer("Too many requests; `Retry-After` says when");
  if (!endpoint.guard.is_public()) {
    out["500"] = ErrorAnswer("The server had an error");
    out["503"] = ErrorAnswer("The server cannot serve this now; `Retry-After` says when");
  } else if (doc.tag == "Identity") {
    out["401"] = ErrorAnswer("Not signed in: the credentials are not good");
    out["404"] = ErrorAnswer("This way of signing in is not configured");
    out["429"] = ErrorAnswer("Too many attempts; `Retry-After` says when");
    out["503"] = ErrorAnswer("The server cannot serve this now; `Retry-After` says when");
  } else if (doc.operation_id == "ready") {
    out["503"] = {{"description", "Not ready"}, {"content", JsonContent(doc.response)}};
  }
  for (auto& [status, answer] : out.items()) answer["headers"] = AnswerHeaders(endpoint, status);
  return out;
}

ordered_json PathParameters(const std::string& pattern) {
  ordered_json out = ordered_json::array();
  size_t at = 0;
  while ((at = pattern.find('{', at)) != std::string::npos) {
    const size_t end = pattern.find('}', at);
    out.push_back({{"name", pattern.substr(at + 1, end - at - 1)},
                   {"in", "path"},
                   {"required", true},
                   {"schema", {{"type", "string"}}}});
    at = end;
  }
  return out;
}

ordered_json Operation(const Endpoint& endpoint) {
  const EndpointDoc& doc = endpoint.doc;
  ordered_json out;
  out["operationId"] = doc.operation_id;
  out["summary"] = doc.summary;
  if (!doc.description.empty()) out["description"] = doc.description;
  out["tags"] = ordered_json::array({doc.tag});
  ordered_json parameters = PathParameters(endpoint.pattern);
  for (const std::string& name : doc.query) {
    parameters.push_back({{"name", name}, {"in", "query"}, {"schema", {{"type", "string"}}}});
  }
  if (IsWrite(endpoint)) {
    parameters.push_back({{"name", "Idempotency-Key"},
                          {"in", "header"},
                          {"description",
                           "sent again with the same request it gets the first answer, and nothing "
                           "is done twice; not for streams"},
                          {"schema", {{"type", "string"}, {"pattern", "^[!-~]{1,255}$"}}}});
  }
  if (!parameters.empty()) out["parameters"] = std::move(parameters);
  if (!doc.request.empty())
    out["requestBody"] = {{"required", !doc.optional_body}, {"content", JsonContent(doc.request)}};
  out["responses"] = Responses(endpoint);
  if (endpoint.guard.is_public()) {
    out["security"] = ordered_json::array();
  } else {
    out["security"] = ordered_json::array(
        {{{"bearer", ordered_json::array()}}, {{"apiKey", ordered_json::array()}}});
  }
  out["x-weft-permission"] = endpoint.guard.name();
  return out;
}

}  // namespace

bool HasSchema(std::string_view name) { return Schemas().contains(std::string(name)); }

std::string OpenApiDocument(const EndpointTable& table, std::string_view version) {
  ordered_json out;
  out["openapi"] = "3.1.0";
  out["info"] = {{"title", "Weft gateway"},
                 {"version", version},
                 {"license", {{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}}};
  for (const Endpoint& endpoint : table.endpoints()) {
    std::string method = endpoint.method;
    for (char& c : method) c = static_cast<char>(c - 'A' + 'a');
    out["paths"][endpoint.pattern][method] = Operation(endpoint);
  }
  out["components"]["schemas"] = Schemas();
  out["components"]["headers"] = HeaderComponents();
  out["components"]["securitySchemes"] = {
      {"bearer", {{"type", "http"}, {"scheme", "bearer"}}},
      {"apiKey", {{"type", "apiKey"}, {"in", "header"}, {"name", "X-API-Key"}}}};
  return out.dump(2);
}

}  // namespace weft::gateway
