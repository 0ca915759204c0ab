#include "libs/cache/cache_key.h"

#include <set>

#include "tests/support/catch.h"

namespace weft::cache {
namespace {

TEST_CASE("A key has the documented prefix, names and a hash of everything", "[cache]") {
  const std::string key =
      CacheKey({.tenant = "acme", .model = "qwen:7b", .version = "v1", .request = "{}"});
  CHECK(key.rfind("code_gen:acme:qwen%3A7b:", 0) == 0);
  CHECK(key.size() == std::string("code_gen:acme:qwen%3A7b:").size() + 64);
  CHECK(key == CacheKey({.tenant = "acme", .model = "qwen:7b", .version = "v1", .request = "{}"}));
}

TEST_CASE("No two different requests share a key, however their parts are cut", "[cache]") {
  std::set<std::string> keys;
  for (const KeyParts& parts : std::initializer_list<KeyParts>{{"a", "b", "c", "d"},
                                                               {"ab", "", "c", "d"},
                                                               {"", "ab", "c", "d"},
                                                               {"a", "bc", "", "d"},
                                                               {"a", "b", "cd", ""},
                                                               {"a", "b", "", "cd"},
                                                               {"a", "b:c", "", "d"},
                                                               {"a:b", "c", "", "d"},
                                                               {"a", "b", "c", "d "},
                                                               {"A", "b", "c", "d"}}) {
    keys.insert(CacheKey(parts));
  }
  CHECK(keys.size() == 10);
}

TEST_CASE("Patterns select by tenant, model and glob", "[cache]") {
  const std::string key =
      CacheKey({.tenant = "acme", .model = "qwen:7b", .version = "1", .request = "x"});
  CHECK(KeyPattern{}.Matches(key));
  CHECK(KeyPattern{.tenant = "acme"}.Matches(key));
  CHECK_FALSE(KeyPattern{.tenant = "acm"}.Matches(key));
  CHECK_FALSE(KeyPattern{.tenant = "acme2"}.Matches(key));
  CHECK(KeyPattern{.model = "qwen:7b"}.Matches(key));
  CHECK_FALSE(KeyPattern{.model = "qwen"}.Matches(key));
  CHECK(KeyPattern{.glob = "code_gen:*:qwen*"}.Matches(key));
  CHECK(KeyPattern{.tenant = "acme", .glob = "*:qwen*"}.Matches(key));
  CHECK_FALSE(KeyPattern{.tenant = "other", .glob = "*"}.Matches(key));
  CHECK_FALSE(KeyPattern{}.Matches("weft:something"));
  CHECK_FALSE(KeyPattern{}.Matches("code_gen:a"));
  CHECK(KeyPattern{}.RedisGlob() == "code_gen:*:*:*");
  CHECK(KeyPattern{.tenant = "a*b"}.RedisGlob() == "code_gen:a%2Ab:*:*");
}

TEST_CASE("A pattern is the same after a way as text", "[cache]") {
  for (const KeyPattern& pattern :
       {KeyPattern{}, KeyPattern{"acme", "", ""}, KeyPattern{"", "m o:d%el", "*x ?\n\xff"},
        KeyPattern{"a", "b", "c"}}) {
    KeyPattern back{"old", "old", "old"};
    REQUIRE(KeyPattern::Decode(pattern.Encode(), back));
    CHECK(back.tenant == pattern.tenant);
    CHECK(back.model == pattern.model);
    CHECK(back.glob == pattern.glob);
  }
  KeyPattern out;
  for (const char* bad : {"", "a", "a b%", "a%4 b c", "%zz b c", "a b %4"}) {
    INFO(bad);
    CHECK_FALSE(KeyPattern::Decode(bad, out));
  }
}

TEST_CASE("Globs match as shells do, without backtracking for ever", "[cache]") {
  CHECK(GlobMatches("", ""));
  CHECK(GlobMatches("*", ""));
  CHECK(GlobMatches("a*c", "abc"));
  CHECK(GlobMatches("a*c", "ac"));
  CHECK(GlobMatches("a*b*c", "aXbXbXc"));
  CHECK(GlobMatches("a?c", "abc"));
  CHECK_FALSE(GlobMatches("a?c", "ac"));
  CHECK_FALSE(GlobMatches("a*c", "abd"));
  CHECK_FALSE(GlobMatches("", "a"));
  std::string evil;
  for (int i = 0; i < 1000; ++i) evil += "*a";
  CHECK_FALSE(GlobMatches(evil + "b", std::string(5000, 'a')));
}

}  // namespace
}  // namespace weft::cache
