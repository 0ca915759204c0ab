#include "libs/cache/s3fifo.h"

#include <map>
#include <random>

#include "tests/support/catch.h"

namespace weft::cache {
namespace {

S3Fifo::Value Bytes(size_t n, char c = 'x') { return std::make_shared<const std::string>(n, c); }

TEST_CASE("What was put is found, replaced and erased", "[cache]") {
  S3Fifo cache(100'000);
  CHECK(cache.Get("a") == nullptr);
  REQUIRE(cache.Put("a", Bytes(3, 'a')));
  CHECK(*cache.Get("a") == "aaa");
  REQUIRE(cache.Put("a", Bytes(5, 'b')));
  CHECK(*cache.Get("a") == "bbbbb");
  CHECK(cache.size() == 1);
  CHECK(cache.bytes() == 1 + 5 + S3Fifo::kOverhead);
  CHECK(cache.Erase("a"));
  CHECK_FALSE(cache.Erase("a"));
  CHECK(cache.bytes() == 0);
}

TEST_CASE("A value of more than a tenth of the cache is not kept", "[cache]") {
  S3Fifo cache(10'000);
  CHECK_FALSE(cache.Put("large", Bytes(1'000)));
  CHECK(cache.Put("fits", Bytes(700)));
  CHECK_FALSE(S3Fifo(0).Put("a", Bytes(0)));
}

TEST_CASE("What is asked for again survives a flood of what is asked for once", "[cache]") {
  S3Fifo cache(100 * (S3Fifo::kOverhead + 104));
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 20; ++i) {
      const std::string key = "hot" + std::to_string(i);
      if (!cache.Get(key)) cache.Put(key, Bytes(100));
    }
  }
  for (int i = 0; i < 1'000; ++i) {
    cache.Put("once" + std::to_string(i), Bytes(97));
    if (i % 20 == 0) {
      for (int hot = 0; hot < 20; ++hot) cache.Get("hot" + std::to_string(hot));
    }
  }
  int kept = 0;
  for (int i = 0; i < 20; ++i) kept += cache.Get("hot" + std::to_string(i)) != nullptr;
  CHECK(kept == 20);
  CHECK(cache.evictions() > 800);
}

TEST_CASE("EraseIf takes out what a condition selects, in both queues", "[cache]") {
  S3Fifo cache(1'000'000);
  for (int i = 0; i < 100; ++i) cache.Put(std::to_string(i), Bytes(10));
  CHECK(cache.EraseIf([](std::string_view key) { return key.back() == '7'; }) == 10);
  CHECK(cache.Get("17") == nullptr);
  CHECK(cache.Get("18") != nullptr);
  CHECK(cache.EraseIf([](std::string_view) { return true; }) == 90);
  CHECK(cache.bytes() == 0);
  CHECK(cache.size() == 0);
}

TEST_CASE("Random use never gives a wrong value and never passes the bound", "[cache]") {
  std::mt19937 random(7);
  S3Fifo cache(20'000);
  std::map<std::string, std::string> truth;
  for (int i = 0; i < 50'000; ++i) {
    const std::string key = std::to_string(random() % 300);
    switch (random() % 8) {
      case 0:
        cache.Erase(key);
        truth.erase(key);
        break;
      case 1:
      case 2: {
        const std::string value(random() % 1'500, static_cast<char>('a' + random() % 26));
        truth.erase(key);
        if (cache.Put(key, std::make_shared<const std::string>(value))) truth[key] = value;
        break;
      }
      default:
        if (const auto found = cache.Get(key)) {
          const auto it = truth.find(key);
          REQUIRE(it != truth.end());
          REQUIRE(*found == it->second);
        }
    }
    REQUIRE(cache.bytes() <= 20'000);
  }
  CHECK(cache.size() > 5);
}

}  // namespace
}  // namespace weft::cache
