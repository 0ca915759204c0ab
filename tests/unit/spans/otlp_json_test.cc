#include "libs/spans/otlp_json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "libs/base/status.h"
#include "libs/spans/check.h"
#include "libs/spans/gzip.h"
#include "tests/support/catch.h"

namespace weft::spans {
namespace {

std::string WithSpan(const std::string& fields) {
  return R"({"resourceSpans":[{"scopeSpans":[{"spans":[{)" + fields + "}]}]}]}";
}

Span OneSpan(const std::string& fields) {
  auto spans = ParseOtlpJson(WithSpan(fields));
  INFO(ToString(spans.status()));
  REQUIRE(spans.ok());
  return spans->at(0).scopes.at(0).spans.at(0);
}

AnyValue OneValue(const std::string& value) {
  return OneSpan(R"("attributes":[{"key":"k","value":)" + value + "}]").attributes.at(0).value;
}

TEST_CASE("ParseOtlpJson reads ids in hex of either case", "[spans]") {
  const Span span =
      OneSpan(R"("traceId":"0102030405060708090A0b0c0d0e0f10","spanId":"fF00000000000001")");
  REQUIRE(span.trace_id == std::string("\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17\20"));
  REQUIRE(span.span_id[0] == '\xff');
}

TEST_CASE("ParseOtlpJson reads numbers written as proto3's JSON allows", "[spans]") {
  REQUIRE(OneSpan(R"("startTimeUnixNano":"18446744073709551615")").start_time_unix_nano ==
          ~uint64_t{0});
  REQUIRE(OneSpan(R"("startTimeUnixNano":1700000000000000000)").start_time_unix_nano ==
          1'700'000'000'000'000'000);
  REQUIRE(OneSpan(R"("kind":3)").kind == 3);
  REQUIRE(OneSpan(R"("kind":"SPAN_KIND_CLIENT")").kind == 3);
  REQUIRE(OneSpan(R"("status":{"code":"STATUS_CODE_ERROR","message":"m"})").status_code == 2);
  REQUIRE(OneSpan(R"("flags":2.0)").flags == 2);
  REQUIRE(std::get<int64_t>(OneValue(R"({"intValue":"-9223372036854775808"})").value) ==
          std::numeric_limits<int64_t>::min());
  REQUIRE(std::get<int64_t>(OneValue(R"({"intValue":-5})").value) == -5);
  REQUIRE(std::isnan(std::get<double>(OneValue(R"({"doubleValue":"NaN"})").value)));
  REQUIRE(std::get<double>(OneValue(R"({"doubleValue":"-Infinity"})").value) == -HUGE_VAL);
  REQUIRE(std::get<double>(OneValue(R"({"doubleValue":"1.5"})").value) == 1.5);
  REQUIRE(std::get<Bytes>(OneValue(R"({"bytesValue":"AAEC"})").value).data ==
          std::string("\0\1\2", 3));
  REQUIRE(std::holds_alternative<std::monostate>(OneValue("{}").value));
}

TEST_CASE("ParseOtlpJson ignores unknown and null fields, and takes original names", "[spans]") {
  REQUIRE(OneSpan(R"("whatever":[1],"name":null,"span_id":"0102030405060708")").span_id.size() ==
          8);
  REQUIRE(ParseOtlpJson("{}")->empty());
  REQUIRE(ParseOtlpJson(R"({"resourceSpans":null})")->empty());
}

TEST_CASE("ParseOtlpJson names the field at fault", "[spans]") {
  const auto [text, expected] = GENERATE(table<std::string, std::string>({
      {"", "the body is not JSON"},
      {"[]", "the request: must be an object"},
      {"{\"resourceSpans\":{}}", "resourceSpans: must be a list"},
      {"{\"resourceSpans\":[1]}", "resourceSpans[0]: must be an object"},
      {WithSpan("\"traceId\":\"xyz\""), "spans[0].traceId: must be hexadecimal"},
      {WithSpan("\"traceId\":\"abc\""), "traceId: must be hexadecimal"},
      {WithSpan("\"traceId\":7"), "traceId: must be a string"},
      {WithSpan("\"startTimeUnixNano\":-1"), "startTimeUnixNano: must be a whole number"},
      {WithSpan("\"startTimeUnixNano\":\"1e3\""), "startTimeUnixNano: must be a whole number"},
      {WithSpan("\"startTimeUnixNano\":1.5"), "startTimeUnixNano: must be a whole number"},
      {WithSpan("\"kind\":99999999999"), "kind: must be a whole number"},
      {WithSpan("\"kind\":\"NONE\""), "kind: must be a whole number"},
      {WithSpan("\"attributes\":[{\"key\":\"k\",\"value\":{\"intValue\":true}}]"),
       "attributes[0].value.intValue: must be a whole number"},
      {WithSpan("\"attributes\":[{\"key\":\"k\",\"value\":{\"boolValue\":1}}]"),
       "boolValue: must be"},
      {WithSpan("\"attributes\":[{\"key\":\"k\",\"value\":{\"bytesValue\":\"!\"}}]"),
       "bytesValue: must be base64"},
      {WithSpan("\"links\":[{\"spanId\":\"q\"}]"), "links[0].spanId: must be hexadecimal"},
      {WithSpan("\"status\":[]"), "status: must be an object"},
  }));
  const auto spans = ParseOtlpJson(text);
  REQUIRE_FALSE(spans.ok());
  INFO(Message(spans.status()));
  REQUIRE(Message(spans.status()).find(expected) != std::string_view::npos);
}

TEST_CASE("ParseOtlpJson refuses values that are nested too deep", "[spans]") {
  std::string value = R"({"stringValue":"x"})";
  for (int i = 0; i < 100; ++i) value = R"({"arrayValue":{"values":[)" + value + "]}}";
  REQUIRE_FALSE(
      ParseOtlpJson(WithSpan(R"("attributes":[{"key":"k","value":)" + value + "}]")).ok());
  REQUIRE_FALSE(ParseOtlpJson(std::string(200'000, '[')).ok());
}

TEST_CASE("ToOtlpJson writes what ParseOtlpJson reads back, whatever the values", "[spans]") {
  ResourceSpans resource;
  resource.resource = {{"text", {std::string("a\"\n\\é")}},
                       {"flag", {true}},
                       {"int", {std::numeric_limits<int64_t>::min()}},
                       {"real", {0.1}},
                       {"tiny", {5e-324}},
                       {"infinite", {HUGE_VAL}},
                       {"list", {ArrayValue{{std::string("x")}, {int64_t{1}}, {ArrayValue{}}}}},
                       {"map", {KeyValueList{{"k", {false}}}}},
                       {"bytes", {Bytes{std::string("\0\xff", 2)}}},
                       {"none", {}}};
  resource.schema_url = "u";
  resource.resource_dropped_attributes_count = 1;
  ScopeSpans scope;
  scope.scope_name = "n";
  scope.scope_version = "v";
  scope.scope_attributes = {{"s", {true}}};
  Span span;
  span.trace_id = std::string(16, '\xab');
  span.span_id = std::string(8, '\1');
  span.parent_span_id = std::string(8, '\2');
  span.trace_state = "a=b";
  span.flags = 0x301;
  span.name = "name";
  span.kind = 5;
  span.start_time_unix_nano = ~uint64_t{0} - 1;
  span.end_time_unix_nano = ~uint64_t{0};
  span.events = {{5, "e", {{"k", {int64_t{1}}}}, 2}, {}};
  span.links = {{std::string(16, '\1'), std::string(8, '\2'), "c=d", {{"k", {true}}}, 3, 4}};
  span.dropped_attributes_count = 1;
  span.dropped_events_count = 2;
  span.dropped_links_count = 3;
  span.status_code = 2;
  span.status_message = "bad";
  scope.spans = {span, {}};
  resource.scopes = {scope, {}};
  const Spans spans = {resource, {}};
  const std::string json = ToOtlpJson(spans);
  INFO(json);
  REQUIRE(json.find('\n') == std::string::npos);
  REQUIRE(nlohmann::json::accept(json));
  const auto parsed = ParseOtlpJson(json);
  REQUIRE(parsed.ok());
  REQUIRE(*parsed == spans);
}

TEST_CASE("CheckSpans cuts what is beyond its limits and counts it", "[spans]") {
  Limits limits;
  limits.attributes = 2;
  limits.events = 1;
  limits.links = 1;
  limits.text_bytes = 4;
  limits.name_bytes = 3;
  limits.array_items = 2;
  limits.depth = 3;
  Span span;
  span.trace_id = std::string(16, '\1');
  span.span_id = std::string(8, '\1');
  span.parent_span_id = std::string(8, '\0');
  span.start_time_unix_nano = 10;
  span.end_time_unix_nano = 5;
  span.name = "nämé";
  span.kind = 77;
  span.status_code = -1;
  AnyValue deep{ArrayValue{{ArrayValue{{ArrayValue{{std::string("x")}}}}}}};
  span.attributes = {{"", {true}},
                     {"deep", deep},
                     {"t",
                      {std::string("abc\xff"
                                   "d")}},
                     {"z", {}}};
  span.events.resize(3);
  span.links = {{}, {std::string(16, '\1'), std::string(8, '\1'), "", {}, 0, 0}};
  ResourceSpans resource;
  resource.scopes.resize(2);
  resource.scopes[0].spans = {span};
  Spans spans = {resource, {}};
  const CheckResult result = CheckSpans(spans, limits);
  REQUIRE(result.rejected == 0);
  REQUIRE(result.shortened > 0);
  REQUIRE(spans.size() == 1);
  REQUIRE(spans[0].scopes.size() == 1);
  const Span& checked = spans[0].scopes[0].spans[0];
  REQUIRE(checked.end_time_unix_nano == 10);
  REQUIRE(checked.parent_span_id.empty());
  REQUIRE(checked.name == "nä");
  REQUIRE(checked.kind == 0);
  REQUIRE(checked.status_code == 0);
  REQUIRE(checked.attributes.size() == 2);
  REQUIRE(checked.dropped_attributes_count == 2);
  REQUIRE(std::get<std::string>(checked.attributes[1].value.value) == "abc");
  const auto& outer = std::get<ArrayValue>(checked.attributes[0].value.value);
  const auto& middle = std::get<ArrayValue>(outer.at(0).value);
  REQUIRE(std::holds_alternative<std::monostate>(middle.at(0).value));
  REQUIRE(checked.dropped_events_count == 2);
  REQUIRE(checked.links.size() == 1);
  REQUIRE(checked.dropped_links_count == 1);
}

TEST_CASE("CheckSpans removes what is no span", "[spans]") {
  const std::string trace(16, '\1');
  const std::string id(8, '\1');
  const auto check = [](std::string trace_id, std::string span_id, std::string parent,
                        uint64_t start) {
    ResourceSpans resource;
    resource.scopes.resize(1);
    Span& span = resource.scopes[0].spans.emplace_back();
    span.trace_id = std::move(trace_id);
    span.span_id = std::move(span_id);
    span.parent_span_id = std::move(parent);
    span.start_time_unix_nano = start;
    Spans spans = {resource};
    return CheckSpans(spans, {}).reason;
  };
  REQUIRE(check(trace, id, "", 1) == "");
  REQUIRE(check(trace, id, id, 1) == "");
  REQUIRE(check(std::string(16, '\0'), id, "", 1).starts_with("trace_id"));
  REQUIRE(check(trace + "x", id, "", 1).starts_with("trace_id"));
  REQUIRE(check(trace, std::string(8, '\0'), "", 1).starts_with("span_id"));
  REQUIRE(check(trace, id, "abc", 1).starts_with("parent_span_id"));
  REQUIRE(check(trace, id, "", 0).starts_with("start_time_unix_nano"));
}

TEST_CASE("Gunzip unpacks members and stops at its limit", "[spans]") {
  const std::string text(100'000, 'a');
  REQUIRE(*Gunzip(Gzip(text), 100'000) == text);
  REQUIRE(Gunzip(Gzip(text), 99'999).status().code() == absl::StatusCode::kOutOfRange);
  REQUIRE(*Gunzip(Gzip("ab") + Gzip("cd"), 10) == "abcd");
  REQUIRE(*Gunzip(Gzip(""), 10) == "");
  REQUIRE(Gunzip("", 10).status().code() == absl::StatusCode::kInvalidArgument);
  REQUIRE(Gunzip("no gzip at all", 10).status().code() == absl::StatusCode::kInvalidArgument);
  const std::string whole = Gzip(text);
  for (size_t cut = 1; cut < whole.size(); cut += 7) {
    REQUIRE_FALSE(Gunzip(whole.substr(0, cut), 100'000).ok());
  }
  const std::string bomb = Gzip(std::string(50'000'000, '\0'));
  REQUIRE(bomb.size() < 100'000);
  REQUIRE(Gunzip(bomb, 1 << 20).status().code() == absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace weft::spans
