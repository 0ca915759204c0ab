#include "libs/json/strict_json.h"

#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "tests/support/catch.h"

using weft::ParseStrictJson;

namespace {
std::string Error(std::string_view text, weft::JsonLimits limits = {}) {
  const auto parsed = ParseStrictJson(text, limits);
  return parsed.ok() ? "" : std::string(weft::Message(parsed.status()));
}
bool Has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}
}  // namespace

TEST_CASE("Valid JSON comes back as it was", "[json]") {
  for (const std::string text : {R"({"a":[1,-2,3.5,null,true,{"b":"c"}],"d":{}})", "[]", "\"x\"",
                                 "12", R"([[],[[]],{"a":{}}])"}) {
    const auto parsed = ParseStrictJson(text);
    REQUIRE(parsed.ok());
    CHECK(parsed->dump() == text);
  }
}

TEST_CASE("An object with a key twice is refused, naming the key", "[json]") {
  CHECK(Has(Error(R"({"model":"a","model":"b"})"), "\"model\" is there twice"));
  CHECK(Has(Error(R"({"a":{"x":1,"y":2,"x":3}})"), "\"x\" is there twice"));
  CHECK(Error(R"({"a":{"x":1},"b":{"x":1}})").empty());
}

TEST_CASE("Deep nesting is refused at its limit and does not use the stack", "[json]") {
  CHECK(Error(std::string(64, '[') + std::string(64, ']')).empty());
  CHECK(Has(Error(std::string(65, '[') + std::string(65, ']')), "deeper than 64"));
  CHECK(Has(Error(std::string(5'000'000, '[')), "deeper than 64"));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK(Has(Error(objects), "deeper than 64"));
}

TEST_CASE("Too many values are refused", "[json]") {
  CHECK(Has(Error("[1,2,3,4]", {.depth = 4, .values = 4}), "more than 4 values"));
}

TEST_CASE("Broken JSON and broken UTF-8 are refused with a place and without the bytes", "[json]") {
  CHECK(Has(Error("{\"a\":"), "at byte"));
  CHECK(Has(Error(""), "not valid JSON"));
  CHECK(Has(Error("{\"a\":1} x"), "at byte"));
  CHECK(Has(Error("{'a':1}"), "at byte"));
  CHECK(Has(Error("[NaN]"), "at byte"));
  for (const std::string bad :
       {"\"\xff\"", "\"\xc3(\"", "\"\xed\xa0\x80\"", "\"\xf5\x80\x80\x80\""}) {
    const std::string error = Error(bad);
    CHECK(Has(error, "UTF-8"));
    for (const char c : error) CHECK((c >= 0x20 && c < 0x7f));
  }
  CHECK_FALSE(Error("\"\\ud800\"").empty());
}
