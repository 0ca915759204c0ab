#include "libs/redis/url.h"

#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft::redis {
namespace {

TEST_CASE("ParseUrl reads every form of address", "[redis]") {
  const auto plain = ParseUrl("redis://cache.example").value();
  CHECK(plain.host == "cache.example");
  CHECK(plain.port == 6379);
  CHECK_FALSE(plain.tls);
  CHECK(plain.password.empty());
  CHECK(plain.database == 0);
  const auto full = ParseUrl("rediss://weft:p%40ss%3a%2F@[2001:db8::7]:6380/12").value();
  CHECK(full.tls);
  CHECK(full.username == "weft");
  CHECK(full.password == "p@ss:/");
  CHECK(full.host == "2001:db8::7");
  CHECK(full.port == 6380);
  CHECK(full.database == 12);
  CHECK(ParseUrl("redis://:secret@10.0.0.1").value().password == "secret");
  CHECK(ParseUrl("redis://:secret@10.0.0.1").value().username.empty());
  CHECK(ParseUrl("redis://10.0.0.1/").value().database == 0);
  const auto local = ParseUrl("unix://:secret@/run/redis.sock?db=3").value();
  CHECK(local.unix_path == "/run/redis.sock");
  CHECK(local.password == "secret");
  CHECK(local.database == 3);
}

TEST_CASE("ParseUrl refuses what is no address, and never shows the password", "[redis]") {
  for (const char* bad : {"",
                          "redis",
                          "http://host",
                          "redis://",
                          "redis://:6379",
                          "redis://host:0",
                          "redis://host:65536",
                          "redis://host:x",
                          "redis://host:",
                          "redis://host/x",
                          "redis://host/99999999999",
                          "redis://host/0?db=1",
                          "redis://us er",
                          "redis://a:b@c@d",
                          "redis://a?b",
                          "redis://h%41",
                          "redis://[::1",
                          "redis://[::1]x",
                          "redis://user@host",
                          "redis://a:hunter2%4@host",
                          "redis://a:hunter2%zz@host",
                          "redis://a:hunter2@",
                          "redis://a:hunter2@h:port",
                          "unix://relative",
                          "unix:///",
                          "unix:///s?x=1",
                          "unix:///s?db=a"}) {
    INFO(bad);
    const auto parsed = ParseUrl(bad);
    CHECK(parsed.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK(Message(parsed.status()).find("hunter2") == std::string_view::npos);
  }
  CHECK_FALSE(ParseUrl(std::string_view("redis://a\0b", 11)).ok());
  CHECK_FALSE(ParseUrl("redis://" + std::string(5000, 'a')).ok());
  CHECK_FALSE(ParseUrl("unix:///" + std::string(200, 'a')).ok());
}

TEST_CASE("An endpoint's name has no user and no password", "[redis]") {
  CHECK(ParseUrl("rediss://u:p@h:1/2").value().Name() == "rediss://h:1/2");
  CHECK(ParseUrl("redis://u:p@[::1]").value().Name() == "redis://[::1]:6379/0");
  CHECK(ParseUrl("unix://u:p@/s").value().Name() == "unix:///s");
}

}  // namespace
}  // namespace weft::redis
