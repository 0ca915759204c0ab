#include "libs/config/units.h"

#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft::config {
namespace {

TEST_CASE("ParseDuration adds the parts of a duration", "[config]") {
  REQUIRE(ParseDuration("50ms")->count() == 50'000'000);
  REQUIRE(ParseDuration("1m30s")->count() == 90'000'000'000);
  REQUIRE(ParseDuration("2.5s")->count() == 2'500'000'000);
  REQUIRE(ParseDuration("-5s")->count() == -5'000'000'000);
  REQUIRE(ParseDuration("0")->count() == 0);
}

TEST_CASE("ParseDuration refuses what is no duration", "[config]") {
  for (const char* text : {"", "-", "5", "5 s", "s", "5x", "5s5", "1e3s", "5.s", ".5s",
                           "99999999999999999999s", "300000000h", "200000000h100000000h"}) {
    INFO(text);
    REQUIRE_FALSE(ParseDuration(text).ok());
  }
}

TEST_CASE("FormatDuration writes the largest exact unit, which parses back", "[config]") {
  for (int64_t ns : {0L, 1L, 1500L, 1'000'000L, 1'500'000'000L, 90'000'000'000L, 7'200'000'000'000L,
                     -5'000'000'000L, 123'456'789L}) {
    const std::string text = FormatDuration(std::chrono::nanoseconds(ns));
    INFO(text);
    REQUIRE(ParseDuration(text)->count() == ns);
  }
  REQUIRE(FormatDuration(std::chrono::minutes(90)) == "90m");
}

TEST_CASE("ParseBytes knows binary and decimal units", "[config]") {
  REQUIRE(*ParseBytes("123") == 123);
  REQUIRE(*ParseBytes("64MiB") == 64u << 20);
  REQUIRE(*ParseBytes("64 MiB") == 64u << 20);
  REQUIRE(*ParseBytes("1.5GB") == 1'500'000'000);
  REQUIRE(*ParseBytes("18446744073709551615") == ~uint64_t{0});
  for (const char* text : {"", "-1", "1XB", "MiB", "99999999TiB", "1mb", "18446744073709551616"}) {
    INFO(text);
    REQUIRE_FALSE(ParseBytes(text).ok());
  }
}

TEST_CASE("FormatBytes writes the largest exact unit, which parses back", "[config]") {
  for (uint64_t bytes :
       {uint64_t{0}, uint64_t{1}, uint64_t{1500}, uint64_t{1} << 30, ~uint64_t{0}}) {
    REQUIRE(*ParseBytes(FormatBytes(bytes)) == bytes);
  }
}

}  // namespace
}  // namespace weft::config
