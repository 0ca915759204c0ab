#include "libs/scan/checks.h"

#include "libs/scan/mask.h"
#include "libs/scan/python_text.h"
#include "tests/support/catch.h"

namespace weft::scan {
namespace {

TEST_CASE("Entropy is in bits per byte", "[scan][checks]") {
  CHECK(Entropy("") == 0.0);
  CHECK(Entropy("aaaa") == 0.0);
  CHECK(Entropy("abab") == Approx(1.0));
  CHECK(Entropy("0123456789abcdef") == Approx(4.0));
}

TEST_CASE("The checksum is zlib's CRC-32 in six base62 digits", "[scan][checks]") {
  // python3 -c 'import zlib; print(zlib.crc32(b"123456789"))' = 3421780262
  CHECK(Base62Crc32("123456789") == "3jZRME");
  CHECK(Base62Crc32("") == "000000");
  CHECK(Passes(Check::kCrc32Base62, "abc_123456789" + Base62Crc32("123456789")));
  CHECK_FALSE(Passes(Check::kCrc32Base62, "abc_1234567890AAAAA"));
  CHECK_FALSE(Passes(Check::kCrc32Base62, "abc_12345"));
  CHECK(Passes(Check::kCrc32Base62All, "abc_1" + Base62Crc32("abc_1")));
  CHECK_FALSE(Passes(Check::kCrc32Base62All, "abc_1" + Base62Crc32("1")));
}

TEST_CASE("A token whose header is not a JSON object with alg is no JWT", "[scan][checks]") {
  // {"alg":"none"}, {"typ":"JWT"}, [1]
  CHECK(LooksLikeJwt("eyJhbGciOiJub25lIn0.e30.c2ln"));
  CHECK_FALSE(LooksLikeJwt("eyJ0eXAiOiJKV1QifQ.e30.c2ln"));
  CHECK_FALSE(LooksLikeJwt("WzFd.e30.c2ln"));
  CHECK(LooksLikeJwt("eyJhbGciOiJub25lIn0.e30"));
  CHECK_FALSE(LooksLikeJwt("eyJhbGciOiJub25lIn0"));
  CHECK_FALSE(LooksLikeJwt("e!.e30.c"));
  CHECK_FALSE(LooksLikeJwt(""));
}

TEST_CASE("Placeholders are told from secrets", "[scan][checks]") {
  for (const char* text : {"changeme", "<your token>", "${TOKEN}", "your-api-key", "XXXXXXXX",
                           "{{ secret }}", "$DB_PASSWORD", "password", "EXAMPLEKEY"}) {
    INFO(text);
    CHECK(LooksLikePlaceholder(text));
  }
  CHECK_FALSE(LooksLikePlaceholder("hunter2"));
  CHECK_FALSE(LooksLikePlaceholder("Zz9Yy8Xx7Ww6"));
}

TEST_CASE("Checks have names that parse back", "[scan][checks]") {
  for (Check check :
       {Check::kCrc32Base62, Check::kCrc32Base62All, Check::kJwt, Check::kNotPlaceholder}) {
    Check parsed{};
    REQUIRE(Parse(Name(check), parsed));
    CHECK(parsed == check);
  }
  Check parsed{};
  CHECK_FALSE(Parse("md5", parsed));
}

TEST_CASE("A mask keeps at most an eighth of a secret", "[scan][mask]") {
  CHECK(Mask("key=0123456789abcdef!", {{4, 20}}) == "key=01********!");
  CHECK(Mask("abc", {{0, 3}}) == "********");
  CHECK(Mask("0123456789", {{6, 9}, {1, 7}}) == "0********9");
  CHECK(Mask("text", {}) == "text");
  // Not half a character: U+20AC is three bytes.
  CHECK(Mask("\xE2\x82\xAC 34567890123456789012", {{0, 16}}) == "********56789012");
}

TEST_CASE("Trimming takes Python's white space", "[scan][python]") {
  CHECK(PythonStrip(" \t\r\n\x1f x y \v\f") == "x y");
  CHECK(PythonStrip("\xC2\xA0\xE3\x80\x80x\xE2\x80\xA8\xC2\x85") == "x");
  CHECK(PythonStrip("\xE2\x80\x8Bx") == "\xE2\x80\x8Bx");  // zero width space is none
  CHECK(PythonStrip(" \n ").empty());
}

TEST_CASE("Pattern expansion says what it cannot expand", "[scan][python]") {
  CHECK(*ExpandPythonPattern("a\\.b", true) == "a\\.b");
  CHECK(*ExpandPythonPattern("k", false) == "k");
  CHECK(*ExpandPythonPattern("[^)]k", true) == R"([^)](?:k|\xe2\x84\xaa))");
  CHECK(*ExpandPythonPattern("[]a]x", true) == "[]a]x");
  CHECK_FALSE(ExpandPythonPattern("[a\\s]", true).ok());
  CHECK_FALSE(ExpandPythonPattern("[kx]", true).ok());
  CHECK_FALSE(ExpandPythonPattern("(?i)x", true).ok());
}

}  // namespace
}  // namespace weft::scan
