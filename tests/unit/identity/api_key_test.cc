#include "libs/identity/api_key.h"

#include <set>

#include "tests/support/catch.h"

using weft::identity::ApiKeyId;
using weft::identity::ConstantTimeEquals;
using weft::identity::HashApiKey;
using weft::identity::NewApiKey;

TEST_CASE("Keys are unlike each other and carry their id", "[identity]") {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const auto key = NewApiKey("");
    REQUIRE(ApiKeyId(key.text) == std::string_view(key.id));
    REQUIRE(seen.insert(key.id).second);
  }
}

TEST_CASE("A changed, cut or lengthened key has no id", "[identity]") {
  const std::string text = NewApiKey("").text;
  for (size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    CHECK_FALSE(ApiKeyId(changed));
    CHECK_FALSE(ApiKeyId(text.substr(0, i)));
  }
  CHECK_FALSE(ApiKeyId(text + "0"));
  CHECK_FALSE(ApiKeyId(std::string(1 << 20, 'x')));
  CHECK_FALSE(ApiKeyId(std::string(text.size(), '\0')));
}

TEST_CASE("The stored hash is HMAC-SHA-256 and depends on salt and pepper", "[identity]") {
  // RFC 4231, test case 2.
  const std::string mac = HashApiKey("what do ya want for nothing?", "fe", "Je");
  CHECK(static_cast<unsigned char>(mac[0]) == 0x5b);
  CHECK(static_cast<unsigned char>(mac[31]) == 0x43);
  CHECK(HashApiKey("a", "salt", "") != HashApiKey("a", "tlas", ""));
  CHECK(HashApiKey("a", "salt", "p") != HashApiKey("a", "salt", "q"));
}

TEST_CASE("Constant-time comparison tells lengths and bytes apart", "[identity]") {
  CHECK(ConstantTimeEquals("abc", "abc"));
  CHECK_FALSE(ConstantTimeEquals("abc", "abd"));
  CHECK_FALSE(ConstantTimeEquals("abc", "ab"));
}
