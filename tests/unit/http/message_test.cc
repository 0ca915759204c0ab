#include "libs/http/message.h"

#include "tests/support/catch.h"

using weft::http::Headers;
using weft::http::PercentDecode;
using weft::http::Request;

TEST_CASE("Header names compare without case and keep their order", "[http]") {
  Headers headers;
  headers.Add("X-Api-Key", "one");
  headers.Add("Accept", "a");
  headers.Add("x-api-key", "two");
  CHECK(headers.Get("X-API-KEY") == "one");
  CHECK(headers.Count("x-api-KEY") == 2);
  CHECK(headers.Get("absent").empty());
  headers.Set("X-API-Key", "three");
  CHECK(headers.Count("x-api-key") == 1);
  CHECK(headers.Get("x-api-key") == "three");
}

TEST_CASE("A token is found in a comma-separated list and not inside another token", "[http]") {
  Headers headers;
  headers.Add("Connection", "keep-alive, Upgrade ");
  headers.Add("Connection", "closed");
  CHECK(headers.HasToken("connection", "upgrade"));
  CHECK(headers.HasToken("Connection", "keep-alive"));
  CHECK_FALSE(headers.HasToken("Connection", "close"));
}

TEST_CASE("Percent decoding refuses broken escapes and NUL", "[http]") {
  CHECK(PercentDecode("a%20b%2Fc") == "a b/c");
  CHECK(PercentDecode("a+b") == "a+b");
  CHECK_FALSE(PercentDecode("%"));
  CHECK_FALSE(PercentDecode("%4"));
  CHECK_FALSE(PercentDecode("%zz"));
  CHECK_FALSE(PercentDecode("a%00b"));
}

TEST_CASE("Query parameters are found by their whole name", "[http]") {
  Request request;
  request.query = "limit=10&tenant=a%20b&flag&bad=%zz";
  CHECK(request.QueryParam("tenant") == "a b");
  CHECK(request.QueryParam("flag") == "");
  CHECK_FALSE(request.QueryParam("lim"));
  CHECK_FALSE(request.QueryParam("bad"));
}
